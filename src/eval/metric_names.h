// The figures that an evaluation will have, known before it is run.
#pragma once

#include <string>
#include <vector>

#include "eval/eval_config.h"
#include "pan/task.h"

namespace pan::eval {

// Keys of Evaluation::metrics. Accuracy by group is left out (it depends on the problems), and so are scores
// that only a program knows (reward.command).
std::vector<std::string> metric_names(const tasks::Task& task, const EvalConfig& config);

}  // namespace pan::eval
