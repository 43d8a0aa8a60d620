// A mix of tasks in a run: figures by task, and a resume that goes on where the mix was.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "metrics/catalog.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

using MixRun = pan::testing::TinyRun;

TEST_F(MixRun, HasFiguresByTaskAndResumes) {
  std::string lines;
  for (int i = 0; i < 3; ++i)
    lines += core::Json{{"prompt", std::to_string(i) + " houses"}, {"answer", "tea"}}.dump() + "\n";
  pan::testing::write_text(folder_ / "rows", lines);
  const core::Json mix = {
      {"name", "mix"},
      {"parts",
       {{{"name", "jsonl"}, {"weight", 3}, {"train_path", folder_ / "rows"}, {"eval_path", folder_ / "rows"}},
        {{"name", "logic_grid"},
         {"sizes", {"2x2"}},
         {"num_eval", 2},
         {"prompt_style", "compact"},
         {"answer_style", "lines"}}}}};
  const auto mixed = [&](const std::string& name, int iterations, bool resume) {
    run(name, {"task=" + mix.dump(), "eval.num_problems=0", "train.iterations=" + std::to_string(iterations)},
        resume);
  };
  mixed("whole", 3, false);
  mixed("parts", 1, false);
  mixed("parts", 3, true);
  EXPECT_EQ(file("whole", "rollouts.jsonl"), file("parts", "rollouts.jsonl"));

  int iterations = 0, evaluations = 0;
  for (const core::Json& row : rows("whole")) {
    std::map<std::string, double> values;
    for (const auto& [key, value] : row.items())
      if (value.is_number() && key.find('/') != std::string::npos) values[key] = value.get<double>();
    EXPECT_TRUE(metrics::unknown_keys(values).empty()) << row.dump();
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
