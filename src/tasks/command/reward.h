// A reward from a program of the user's: reward.command.
//
//   auto task = with_command(tasks::make(config.task), config.reward, [](const Problem&) { return true; });
//
// For a batch the program gets one JSON object a line, {"id", "prompt", "response", "answer", "problem",
// "group", "left"}, and answers each with one, {"id", "reward", "terms", "correct"}: in any order by id, or
// in the order of the requests without ids (docs/tasks.md).
#pragma once

#include <functional>
#include <memory>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks {

// The task with its rewards replaced by the program's, which is started here. `can_judge`: the task knows
// right from wrong for this problem; else an answer that earns more than 0 is right. Errors: kConfig where
// the program cannot be started; judging throws kData for a program that fails twice in a row at one batch or
// does not answer as it should, and kInterrupted.
std::shared_ptr<const Task> with_command(std::shared_ptr<const Task> task, const RewardConfig& config,
                                         std::function<bool(const Problem&)> can_judge);

}  // namespace pan::tasks
