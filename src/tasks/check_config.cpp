#include "core/error.h"
#include "tasks/logic_grid/sizes.h"
#include "tasks/tasks_config.h"

namespace pan::tasks {
namespace {

void check_part(const MixPart& part, size_t index) {
  try {
    check(part.config);
  } catch (const core::Error& error) {
    core::Error named = error;
    const std::string own = error.pointer_text();
    if (own.rfind("/task/", 0) == 0)
      named.pointer("/task/parts/" + std::to_string(index) + own.substr(std::string("/task").size()));
    throw named;
  }
}

}  // namespace

void check(const TaskConfig& c) {
  if (c.name == "logic_grid") {
    logic_grid::parse_sizes(c.logic_grid.sizes, "sizes");
    logic_grid::parse_curriculum(c.logic_grid.curriculum);
  }
  if (c.name != "mix") return;
  const std::vector<MixPart> parts = parts_of(c.mix);
  for (size_t i = 0; i < parts.size(); ++i) check_part(parts[i], i);
}

}  // namespace pan::tasks
