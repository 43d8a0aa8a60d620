#include "tasks/registry.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tasks/command/reward.h"
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

std::shared_ptr<const Task> make(const TaskConfig& config, const RewardConfig& reward) {
  const bool can_judge = config.name != "jsonl" || config.jsonl.match != JsonlConfig::Match::kNone;
  const bool has_command = !command_of(reward).empty();
  PAN_CHECK(can_judge || has_command, kConfig, "nothing pays: the task judges no answers")
      .pointer("/task/match")
      .expected("exact, numeric or regex, or a program as reward.command")
      .got("none")
      .remedy("Set task.match or reward.command");
  std::shared_ptr<const Task> task = make(config);
  return has_command ? with_command(task, reward, can_judge) : task;
}

std::shared_ptr<const Task> make(const nlohmann::ordered_json& json) {
  TaskConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, json, "task");
  return make(config);
}

}  // namespace pan::tasks
