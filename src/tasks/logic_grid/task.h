// Logic grids as a task: generated puzzles (or ZebraLogic's for the eval split), judged by puzzle and by
// cell.
#pragma once

#include <memory>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks::logic_grid {

// Errors: kConfig for sizes, weights or a curriculum that cannot be read or do not fit the pools; kData for
// the file.
std::shared_ptr<const Task> make_task(const LogicGridConfig& config);

}  // namespace pan::tasks::logic_grid
