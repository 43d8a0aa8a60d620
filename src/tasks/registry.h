// Tasks from settings that have been read already; include/pan/task.h has the form that takes JSON.
//
//   auto task = tasks::make(run_config.task);
#pragma once

#include <memory>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks {

// Errors: kConfig for settings that exclude each other, kData for data files that are broken or missing.
std::shared_ptr<const Task> make(const TaskConfig& config);

// The same with the rewards of reward.command where there is one. Errors: kConfig also for a program that
// cannot be started, and for a task that judges nothing (jsonl with match = none) without one.
std::shared_ptr<const Task> make(const TaskConfig& config, const RewardConfig& reward);

}  // namespace pan::tasks
