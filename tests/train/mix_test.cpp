// A mix of tasks in a run: figures by task, and a resume that goes on where the mix was.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "core/log.h"
#include "metrics/catalog.h"
#include "support/support.h"
#include "train/tiny_run.h"
#include "train/trainer.h"

namespace pan::train {
namespace {

using pan::testing::read_text;
using pan::testing::tiny_config;

TEST(MixRun, HasFiguresByTaskAndResumes) {
  core::set_log_level(core::LogLevel::kError);
  const testing::TempFolder folder;
  pan::testing::make_tiny_model(folder / "model", 5);
  std::string rows;
  for (int i = 0; i < 3; ++i)
    rows += core::Json{{"prompt", std::to_string(i) + " houses"}, {"answer", "tea"}}.dump() + "\n";
  testing::write_text(folder / "rows", rows);
  const core::Json mix = {
      {"name", "mix"},
      {"parts",
       {{{"name", "jsonl"}, {"weight", 3}, {"train_path", folder / "rows"}, {"eval_path", folder / "rows"}},
        {{"name", "logic_grid"},
         {"sizes", {"2x2"}},
         {"num_eval", 2},
         {"prompt_style", "compact"},
         {"answer_style", "lines"}}}}};
  auto run = [&](const std::string& name, int iterations, bool resume) {
    train({.config = tiny_config(folder / "model", {"task=" + mix.dump(), "eval.num_problems=0",
                                                    "train.iterations=" + std::to_string(iterations)}),
           .run_dir = folder / name,
           .resume = resume});
  };
  run("whole", 3, false);
  run("parts", 1, false);
  run("parts", 3, true);
  core::set_log_file("");
  core::set_log_level(core::LogLevel::kInfo);
  EXPECT_EQ(read_text((folder / "whole") + "/rollouts.jsonl"),
            read_text((folder / "parts") + "/rollouts.jsonl"));

  std::istringstream lines(read_text((folder / "whole") + "/metrics.jsonl"));
  int iterations = 0, evaluations = 0;
  for (std::string line; std::getline(lines, line);) {
    const core::Json row = core::Json::parse(line);
    std::map<std::string, double> values;
    for (const auto& [key, value] : row.items())
      if (value.is_number() && key.find('/') != std::string::npos) values[key] = value.get<double>();
    EXPECT_TRUE(metrics::unknown_keys(values).empty()) << line;
    if (values.count("eval/accuracy") != 0) {
      ++evaluations;
      for (const char* key :
           {"eval/accuracy/jsonl", "eval/accuracy/logic_grid", "eval/accuracy/logic_grid/2x2"})
        EXPECT_EQ(values.count(key), 1u) << key;
    }
    if (values.count("reward/accuracy") == 0) continue;
    ++iterations;
    // Four prompts of an iteration, weights 3 and 1.
    EXPECT_EQ(values.at("prompts/share/jsonl"), 0.75);
    EXPECT_EQ(values.at("prompts/share/logic_grid"), 0.25);
    EXPECT_NEAR(0.75 * values.at("reward/score/jsonl") + 0.25 * values.at("reward/score/logic_grid"),
                values.at("critic/score/mean"), 1e-12);
    EXPECT_NEAR(0.75 * values.at("reward/accuracy/jsonl") + 0.25 * values.at("reward/accuracy/logic_grid"),
                values.at("reward/accuracy"), 1e-12);
  }
  EXPECT_EQ(iterations, 3);
  EXPECT_GE(evaluations, 2);
}

}  // namespace
}  // namespace pan::train
