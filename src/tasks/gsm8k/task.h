// GSM8K (Cobbe et al., "Training verifiers to solve math word problems", arXiv:2110.14168), read from the
// JSONL files of openai/grade-school-math.
#pragma once

#include <memory>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks::gsm8k {

// A file is read when its split is first used. Errors (then): kData with the command that fetches the files.
std::shared_ptr<const Task> make_task(const Gsm8kConfig& config);

}  // namespace pan::tasks::gsm8k
