// Several tasks as one, in shares by weight.
//
// Train split: endless. Problem i comes from the task that is furthest behind its share of i + 1 problems
// (the first of those that tie), so every stretch of problems has nearly the weights' shares. Within a task a
// finite split is read in epochs, each in its own order by (seed, epoch), an endless one in order of its
// index. All of it is a function of the configuration and i. Eval split: the tasks' own, one problem of each
// in turn until they run out, so that the first n are a fair sample.
//
// Problems are named "label:id" and are in the group "label" or "label/group".
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks::mix {

using MakeTask = std::function<std::shared_ptr<const Task>(const TaskConfig&)>;

// `make` makes the parts. Errors: those of parts_of() and of the parts, with "/task/parts/N" in front of
// their settings' names.
std::shared_ptr<const Task> make_task(const MixConfig& config, const MakeTask& make);

// "gsm8k" of the problem "gsm8k:gsm8k-train-3".
std::string label_of(const Problem& problem);

}  // namespace pan::tasks::mix
