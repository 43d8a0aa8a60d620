#include "tasks/registry.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "tasks/command/reward.h"
#include "tasks/gsm8k/task.h"
#include "tasks/jsonl/task.h"
#include "tasks/logic_grid/task.h"
#include "tasks/mix/task.h"

namespace pan::tasks {
namespace {

bool judges_nothing(const TaskConfig& config) {
  return config.name == "jsonl" && config.jsonl.match == JsonlConfig::Match::kNone;
}

}  // namespace

std::vector<std::string> names() { return {"gsm8k", "logic_grid", "jsonl", "mix"}; }

std::shared_ptr<const Task> make(const TaskConfig& config) {
  if (config.name == "gsm8k") return gsm8k::make_task(config.gsm8k);
  if (config.name == "logic_grid") return logic_grid::make_task(config.logic_grid);
  if (config.name == "jsonl") return jsonl::make_task(config.jsonl);
  if (config.name == "mix")
    return mix::make_task(config.mix, [](const TaskConfig& part) { return make(part); });
  core::Error error(core::ErrorKind::kConfig, "there is no task of this name");
  std::string known;
  for (const std::string& name : names()) known += (known.empty() ? "" : ", ") + name;
  throw error.pointer("/task/name").expected(known).got("\"" + config.name + "\"");
}

std::shared_ptr<const Task> make(const TaskConfig& config, const RewardConfig& reward) {
  // Those of a mix that judge nothing, by label; "" is a task by itself.
  std::set<std::string> silent;
  if (judges_nothing(config)) silent.insert("");
  if (config.name == "mix")
    for (const MixPart& part : parts_of(config.mix))
      if (judges_nothing(part.config)) silent.insert(part.label);
  const bool has_command = !command_of(reward).empty();
  PAN_CHECK(silent.empty() || has_command, kConfig, "nothing pays: a task judges no answers")
      .where(silent.empty() || silent.begin()->empty() ? "" : "task " + *silent.begin())
      .pointer("/task/match")
      .expected("exact, numeric or regex, or a program as reward.command")
      .got("none")
      .remedy("Set task.match or reward.command");
  std::shared_ptr<const Task> task = make(config);
  if (!has_command) return task;
  return with_command(task, reward, [silent, is_mix = config.name == "mix"](const Problem& p) {
    return silent.count(is_mix ? mix::label_of(p) : "") == 0;
  });
}

std::shared_ptr<const Task> make(const nlohmann::ordered_json& json) {
  TaskConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, json, "task");
  return make(config);
}

}  // namespace pan::tasks
