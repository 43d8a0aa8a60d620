// The one list of the built-in tasks, from which `task.name`, the registry and error messages take theirs.
#pragma once

#include <string>
#include <vector>

namespace pan::tasks {

const std::vector<std::string>& task_names();

}  // namespace pan::tasks
