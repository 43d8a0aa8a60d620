// What the catalog promises is what runs write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "metrics/catalog.h"
#include "train/tiny_run_fixture.h"
#include "train/verl_names.h"

namespace pan::train {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class MetricKeys : public pan::testing::TinyRun {
 protected:
  std::vector<core::Json> run(const std::string& name, const std::vector<std::string>& settings) {
    TinyRun::run(name, settings);
    return rows(name);
  }
};

std::set<std::string> entries_of(const core::Json& row) {
  std::set<std::string> entries;
  for (const auto& [key, value] : row.items())
    if (const metrics::KeyInfo* info = metrics::find_key(key)) entries.insert(info->key);
  return entries;
}

TEST_F(MetricKeys, WhatIsAlwaysWrittenIsInEveryIterationOfEveryMethod) {
  size_t always = 0;
  for (const metrics::KeyInfo& info : metrics::catalog()) always += info.always;
  EXPECT_GT(always, 50u);
  const std::vector<std::vector<std::string>> runs = {
      {"critic.warmup_iterations=0", "train.iterations=2"},
      {"critic.warmup_iterations=0", "train.iterations=2", "rhythm.enabled=false", "eval.every=0",
       "kl.coefficient=0", "kl.controller=fixed", "advantage.estimator=grpo"}};
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const core::Json& row : run("run" + std::to_string(i), runs[i])) {
      if (row.at("event") != "iteration") continue;
      const std::set<std::string> written = entries_of(row);
      for (const metrics::KeyInfo& info : metrics::catalog())
        EXPECT_TRUE(!info.always || written.count(info.key)) << info.key << " in run " << i;
    }
  }
}

TEST_F(MetricKeys, VerlsNamesOfAnEvaluationAndOfACheckpoint) {
  const auto rows = run("run", {"train.iterations=2", "eval.samples=2", "eval.temperature=1"});
  int saved = 0, evaluations = 0;
  for (const core::Json& row : rows) {
    saved += row.contains("timing_s/save_checkpoint");
    if (row.at("event") != "evaluation") continue;
    ++evaluations;
    const std::string core = "val-core/logic_grid/acc/";
    EXPECT_EQ(row.at(core + "mean@2"), row.at("eval/accuracy"));
    EXPECT_EQ(row.at(core + "best@2/mean"), row.at("eval/pass@2"));
    EXPECT_EQ(row.at(core + "maj@2/mean"), row.at("eval/maj@2"));
    EXPECT_EQ(row.at("val-aux/logic_grid/format/mean@2"), row.at("eval/score/format"));
  }
  EXPECT_EQ(evaluations, 2);
  EXPECT_EQ(saved, 1);  // in the iteration that follows a checkpoint
}

TEST_F(MetricKeys, EpochsOfATaskThatHasSoManyPrompts) {
  std::string lines;
  for (int i = 0; i < 8; ++i) lines += "{\"prompt\": \"1 house\", \"answer\": \"1\"}\n";
  const std::string data = folder_ / "rows.jsonl";
  pan::testing::write_text(data, lines);
  const std::string task = core::Json({{"name", "jsonl"}, {"train_path", data}, {"eval_path", data}}).dump();
  const auto rows = run("run", {"train.iterations=3", "eval.every=0", "task=" + task});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].at("training/epoch"), 0.5);
  EXPECT_EQ(rows[2].at("training/epoch"), 1.5);
}

TEST_F(MetricKeys, SharesOfEmptyAnswersAndOfPromptsAtTheLimit) {
  const std::string data = folder_ / "rows.jsonl";
  pan::testing::write_text(data, "{\"prompt\": \"1 house\", \"answer\": \"1\"}\n");
  const std::string task = core::Json({{"name", "jsonl"}, {"train_path", data}, {"eval_path", data}}).dump();
  const auto one = run("one", {"train.iterations=1", "eval.every=0", "task=" + task});
  EXPECT_EQ(one[0].at("prompt_length/clip_ratio"), 0);
  EXPECT_EQ(one[0].at("response/aborted_ratio"), 0);
  const auto length = static_cast<int64_t>(one[0].at("prompt_length/max").get<double>());
  const auto full = run("full", {"train.iterations=1", "eval.every=0", "task=" + task,
                                 "train.max_prompt_tokens=" + std::to_string(length)});
  EXPECT_EQ(full[0].at("prompt_length/clip_ratio"), 1);
}

TEST(VerlNames, OfAMixAlsoByTask) {
  EXPECT_THAT(verl_names("mix", 1,
                         {{"accuracy", 0.5},
                          {"accuracy/gsm8k", 0.25},
                          {"accuracy/logic_grid/3x3", 0.75},
                          {"no_answer_rate", 0.1}}),
              ElementsAre(Pair("val-core/gsm8k/acc/mean@1", 0.25), Pair("val-core/mix/acc/mean@1", 0.5)));
}

}  // namespace
}  // namespace pan::train
