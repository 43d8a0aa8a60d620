#include "tasks/registry.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "tasks/command/reward.h"
#include "tasks/gsm8k/task.h"
#include "tasks/jsonl/task.h"
#include "tasks/logic_grid/task.h"
#include "tasks/mix/task.h"
#include "tasks/names_config.h"

namespace pan::tasks {
namespace {

bool judges_nothing(const TaskConfig& config) {
  return config.name == "jsonl" && config.jsonl.match == JsonlConfig::Match::kNone;
}

}  // namespace

std::vector<std::string> names() { return task_names(); }

std::shared_ptr<const Task> make(const TaskConfig& config) {
  using Factory = std::shared_ptr<const Task> (*)(const TaskConfig&);
  // One line a task of tasks_config.cpp.
  static const std::map<std::string, Factory> factories = {
      {"gsm8k", [](const TaskConfig& c) { return gsm8k::make_task(c.gsm8k); }},
      {"logic_grid", [](const TaskConfig& c) { return logic_grid::make_task(c.logic_grid); }},
      {"jsonl", [](const TaskConfig& c) { return jsonl::make_task(c.jsonl); }},
      {"mix",
       [](const TaskConfig& c) {
         return mix::make_task(c.mix, [](const TaskConfig& part) { return make(part); });
       }},
  };
  if (const auto found = factories.find(config.name); found != factories.end()) return found->second(config);
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
