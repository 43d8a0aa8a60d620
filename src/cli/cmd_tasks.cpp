#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/error.h"
#include "core/log.h"
#include "pan/task.h"
#include "tasks/logic_grid/file.h"

namespace pan::cli {
namespace {

struct Options {
  std::string size = "3x3", output, split = "train", prompt_style = "full", answer_style = "json";
  tasks::logic_grid::FileOptions file;
};

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

  auto o = std::make_shared<Options>();
  CLI::App* grid =
      command->add_subcommand("logic-grid", "Write logic-grid puzzles with their solutions as JSON lines");
  grid->add_option("--size", o->size, "Houses x attributes, 2..6 each")->capture_default_str();
  grid->add_option("--count", o->file.count, "Number of puzzles")->capture_default_str();
  grid->add_option("--seed", o->file.seed, "Seed of the generator")->capture_default_str();
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
