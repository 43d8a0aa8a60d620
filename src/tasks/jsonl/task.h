// Any data set of prompts and answers in JSON Lines, with exact, numeric or pattern match.
#pragma once

#include <memory>

#include "pan/task.h"
#include "tasks/tasks_config.h"

namespace pan::tasks::jsonl {

// Rows: the configured keys, and optionally "id" and "group". Errors: kConfig for a missing path, a pattern
// that does not compile, or a pattern where match is not regex; kData for the files, read when their split is
// first used.
std::shared_ptr<const Task> make_task(const JsonlConfig& config);

}  // namespace pan::tasks::jsonl
