#include "tasks/registry.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tasks/gsm8k/task.h"
#include "tasks/jsonl/task.h"
#include "tasks/logic_grid/task.h"

namespace pan::tasks {

std::vector<std::string> names() { return {"gsm8k", "logic_grid", "jsonl"}; }

std::shared_ptr<const Task> make(const TaskConfig& config) {
  if (config.name == "gsm8k") return gsm8k::make_task(config.gsm8k);
  if (config.name == "logic_grid") return logic_grid::make_task(config.logic_grid);
  if (config.name == "jsonl") return jsonl::make_task(config.jsonl);
  core::Error error(core::ErrorKind::kConfig, "there is no task of this name");
  std::string known;
  for (const std::string& name : names()) known += (known.empty() ? "" : ", ") + name;
  throw error.pointer("/task/name").expected(known).got("\"" + config.name + "\"");
}

std::shared_ptr<const Task> make(const nlohmann::ordered_json& json) {
  TaskConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, json, "task");
  return make(config);
}

}  // namespace pan::tasks
