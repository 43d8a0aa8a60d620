#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/schema.h"
#include "pan/task.h"
#include "tasks/logic_grid/file.h"

namespace pan::cli {
namespace {

struct Options {
  std::string size = "3x3", output, split = "train", prompt_style = "full", answer_style = "json";
  tasks::logic_grid::FileOptions file;
};

// The parser itself cuts larger numbers off at the end of the range.
CLI::Validator whole_number(const std::string& name, int64_t min) {
  return CLI::Validator(
      [name, min](const std::string& text) -> std::string {
        int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error == std::errc() && end == text.data() + text.size() && value >= min) return "";
        return name + ": not a whole number from " + std::to_string(min) + " to 9223372036854775807: " + text;
      },
      "");
}

tasks::logic_grid::Shape parse_size(const std::string& text) {
  int houses = 0, attributes = 0, used = 0;
  const bool good = std::sscanf(text.c_str(), "%dx%d%n", &houses, &attributes, &used) == 2 &&
                    static_cast<size_t>(used) == text.size() && houses >= 2 && houses <= 6 &&
                    attributes >= 2 && attributes <= 6;
  PAN_CHECK(good, kUsage, "not a puzzle size")
      .where("pan-ppo tasks logic-grid")
      .pointer("--size")
      .expected("NxM with 2..6 houses and attributes, e.g. 3x4")
      .got(text)
      .remedy("Give --size such as 3x4");
  return {houses, attributes};
}

int write_grids(const Options& o) {
  tasks::logic_grid::FileOptions file = o.file;
  file.shape = parse_size(o.size);
  file.split = o.split == "eval" ? tasks::Split::kEval : tasks::Split::kTrain;
  file.prompt_style = o.prompt_style == "compact" ? tasks::PromptStyle::kCompact : tasks::PromptStyle::kFull;
  file.answer_style = o.answer_style == "lines" ? tasks::AnswerStyle::kLines : tasks::AnswerStyle::kJson;
  tasks::logic_grid::write_file(file, o.output);
  core::log_info(std::to_string(file.count) + " puzzles of " + o.size + " written to " + o.output);
  return 0;
}

struct ShowOptions {
  std::string task, config, split = "train";
  std::vector<std::string> set;
  int64_t index = 0, count = 1;
  bool json = false;
};

std::shared_ptr<const tasks::Task> task_of(const ShowOptions& o) {
  const std::vector<std::string> names = tasks::names();
  const std::string near = core::nearest(o.task, names);
  PAN_CHECK(o.task.empty() || std::find(names.begin(), names.end(), o.task) != names.end(), kUsage,
            "there is no task of this name")
      .where("pan-ppo tasks show")
      .pointer("--task")
      .expected("gsm8k, logic_grid, jsonl or mix")
      .got(o.task)
      .remedy(near.empty() ? "`pan-ppo tasks list` shows them" : "Did you mean " + near + "?");
  core::Json tree = o.config.empty() ? core::Json::object()
                                     : core::read_json_file(o.config, core::JsonDialect::kWithComments);
  if (!o.task.empty() && (!tree.contains("task") || tree["task"].value("name", "") != o.task))
    tree["task"] = {{"name", o.task}};
  for (const std::string& assignment : o.set) core::apply_override(tree, assignment);
  PAN_CHECK(tree.contains("task"), kUsage, "no task is named")
      .where("pan-ppo tasks show")
      .expected("--task NAME, or --config with a file that has a task")
      .got("neither")
      .remedy("Add --task gsm8k or --task logic_grid");
  return tasks::make(tree["task"]);
}

void print_problem(const tasks::Problem& p, bool as_json) {
  if (as_json) {
    const core::Json row = {{"id", p.id},
                            {"prompt", p.prompt},
                            {"answer", p.reference},
                            {"response", p.answer},
                            {"group", p.group}};
    std::printf("%s\n", core::dump_json(row).c_str());
    return;
  }
  std::printf("--- %s%s%s: prompt\n%s\n--- right answer\n%s\n--- answer to train on\n%s\n", p.id.c_str(),
              p.group.empty() ? "" : ", ", p.group.c_str(), p.prompt.c_str(), p.reference.c_str(),
              p.answer.empty() ? "(none)" : p.answer.c_str());
}

int show(const ShowOptions& o) {
  const auto task = task_of(o);
  const tasks::Split split = o.split == "eval" ? tasks::Split::kEval : tasks::Split::kTrain;
  const int64_t size = task->size(split);
  PAN_CHECK(o.index >= 0 && o.count >= 1 && (size < 0 || o.index + o.count <= size), kUsage,
            "there are no such problems")
      .where("pan-ppo tasks show")
      .pointer("--index, --count")
      .expected(size < 0 ? "an index from 0 on" : "within the " + std::to_string(size) + " of the split")
      .got(std::to_string(o.index) + " and " + std::to_string(o.count) + " from there")
      .remedy("Give a smaller --index or --count");
  for (int64_t i = 0; i < o.count; ++i) print_problem(task->problem(split, o.index + i), o.json);
  if (o.json) return 0;
  for (const std::string& text : task->stop_strings())
    std::printf("--- an answer ends before %s\n", core::dump_json(text).c_str());
  return 0;
}

void add_show(CLI::App& command, Action& action) {
  auto o = std::make_shared<ShowOptions>();
  CLI::App* shown =
      command.add_subcommand("show", "Prompts of a task as a model gets them, with their answers");
  shown->add_option("--task", o->task, "Task: gsm8k, logic_grid, jsonl, mix");
  shown->add_option("--config", o->config, "Configuration file whose task is shown");
  shown->add_option("--set", o->set, "Override one key: task.prompting=direct; may be repeated")
      ->allow_extra_args(false);
  shown->add_option("--split", o->split, "train or eval")
      ->check(CLI::IsMember({"train", "eval"}))
      ->capture_default_str();
  shown->add_option("--index", o->index, "Number of the first problem")->capture_default_str();
  shown->add_option("--count", o->count, "How many problems")->capture_default_str();
  shown->add_flag("--json", o->json, "JSON lines: id, prompt, answer, response, group");
  shown->callback([o, &action] { action = [o] { return show(*o); }; });
}

}  // namespace

void add_tasks(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("tasks", "Look at tasks and make their data");
  command->require_subcommand(1);

  command->add_subcommand("list", "Names of the built-in tasks")->callback([&action] {
    action = [] {
      for (const std::string& name : tasks::names()) std::printf("%s\n", name.c_str());
      return 0;
    };
  });

  add_show(*command, action);

  auto o = std::make_shared<Options>();
  CLI::App* grid =
      command->add_subcommand("logic-grid", "Write logic-grid puzzles with their solutions as JSON lines");
  grid->add_option("--size", o->size, "Houses x attributes, 2..6 each")->capture_default_str();
  grid->add_option("--count", o->file.count, "Number of puzzles")
      ->check(whole_number("--count", 1))
      ->capture_default_str();
  grid->add_option("--seed", o->file.seed, "Seed of the generator")
      ->check(whole_number("--seed", 0))
      ->capture_default_str();
  grid->add_option("--split", o->split, "train or eval: no puzzle is in both")
      ->check(CLI::IsMember({"train", "eval"}))
      ->capture_default_str();
  grid->add_option("--prompt-style", o->prompt_style, "full or compact")
      ->check(CLI::IsMember({"full", "compact"}))
      ->capture_default_str();
  grid->add_option("--answer-style", o->answer_style, "json or lines")
      ->check(CLI::IsMember({"json", "lines"}))
      ->capture_default_str();
  grid->add_option("--output", o->output, "JSONL file to write")->required();
  grid->callback([o, &action] { action = [o] { return write_grids(*o); }; });
}

}  // namespace pan::cli
