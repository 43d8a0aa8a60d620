#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/signals.h"
#include "metrics/catalog.h"
#include "support/support.h"
#include "train/tiny_run.h"

namespace pan::train {
namespace {

using pan::testing::comparable_metrics;
using pan::testing::read_text;
using pan::testing::TempFolder;
using pan::testing::tiny_config;

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    core::set_log_level(core::LogLevel::kWarn);
    pan::testing::make_tiny_model(model_, 5);
  }
  void TearDown() override {
    core::set_log_file("");
    core::reset_stop();
  }
  TrainOutcome run(const std::string& name, const std::vector<std::string>& overrides, bool resume = false,
                   bool allow_change = false) {
    return train({.config = tiny_config(model_, overrides),
                  .run_dir = folder_ / name,
                  .resume = resume,
                  .allow_change = allow_change});
  }
  std::string weights(const std::string& name, const std::string& model = "policy") {
    return read_text((folder_ / name) + "/checkpoints/latest/" + model + "/model.safetensors");
  }

  TempFolder folder_;
  std::string model_ = folder_ / "model";
};

TEST_F(TrainerTest, ResumedRunEqualsUninterruptedOneBitForBit) {
  run("whole", {});
  run("parts", {"train.iterations=1"});
  run("parts", {"train.iterations=3"}, true);
  const TrainOutcome outcome = run("parts", {}, true);
  EXPECT_EQ(outcome.iterations, 4);
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_EQ(weights("whole", "critic"), weights("parts", "critic"));
  EXPECT_EQ(read_text((folder_ / "whole") + "/rollouts.jsonl"),
            read_text((folder_ / "parts") + "/rollouts.jsonl"));
  // A run that ends at iteration 1 or 3 evaluates there too, so only the iterations are compared.
  auto iterations = [&](const std::string& name) {
    std::istringstream lines(comparable_metrics(folder_ / name));
    std::string out, line;
    while (std::getline(lines, line))
      if (line.find("\"event\":\"iteration\"") != std::string::npos) out += line + "\n";
    return out;
  };
  EXPECT_EQ(iterations("whole"), iterations("parts"));
}

TEST_F(TrainerTest, StopSignalLeavesAPointThatResumesBitForBit) {
  run("whole", {});
  core::install_stop_signals();
  core::request_stop();
  EXPECT_EQ(run("stopped", {}).end, TrainEnd::kSignal);
  core::reset_stop();
  EXPECT_EQ(run("stopped", {}, true).end, TrainEnd::kDone);
  EXPECT_EQ(weights("whole"), weights("stopped"));
  EXPECT_EQ(comparable_metrics(folder_ / "whole"), comparable_metrics(folder_ / "stopped"));
}

TEST_F(TrainerTest, Bfloat16MastersResumeBitForBit) {
  run("whole", {"model.dtype=bfloat16"});
  run("parts", {"model.dtype=bfloat16", "train.iterations=2"});
  run("parts", {"model.dtype=bfloat16"}, true);
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_EQ(read_text((folder_ / "whole") + "/checkpoints/latest/policy_optimizer.safetensors"),
            read_text((folder_ / "parts") + "/checkpoints/latest/policy_optimizer.safetensors"));
}

TEST_F(TrainerTest, SharedTrunkResumesBitForBit) {
  const std::vector<std::string> shared = {"critic.mode=shared", "eval.every=0"};
  auto with = [&](const std::string& more) {
    std::vector<std::string> all = shared;
    all.push_back(more);
    return all;
  };
  run("whole", shared);
  run("parts", with("train.iterations=1"));
  run("parts", with("train.iterations=3"), true);
  run("parts", shared, true);
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_EQ(comparable_metrics(folder_ / "whole"), comparable_metrics(folder_ / "parts"));
  for (const char* file : {"value_head", "policy_optimizer", "critic_optimizer"}) {
    const std::string name = "/checkpoints/latest/" + std::string(file) + ".safetensors";
    EXPECT_EQ(read_text((folder_ / "whole") + name), read_text((folder_ / "parts") + name)) << file;
  }
}

TEST_F(TrainerTest, LambdaZeroEqualsRhythmOffBitForBit) {
  run("off", {"rhythm.enabled=false"});
  run("zero", {"rhythm.lambda=0"});
  EXPECT_EQ(weights("off"), weights("zero"));
  EXPECT_EQ(weights("off", "critic"), weights("zero", "critic"));
  EXPECT_EQ(comparable_metrics(folder_ / "off", {"rhythm/"}),
            comparable_metrics(folder_ / "zero", {"rhythm/"}));
  // The tap did run: the figures are there.
  EXPECT_NE(read_text((folder_ / "zero") + "/metrics.jsonl").find("rhythm/preplan_entropy"),
            std::string::npos);
  run("on", {});
  EXPECT_NE(weights("off"), weights("on"));
}

TEST_F(TrainerTest, ShuffledControlResumesBitForBitAndTrainsSomethingElse) {
  const std::string shuffled = "rhythm.control=shuffled";
  run("plain", {"eval.every=0"});
  run("whole", {shuffled, "eval.every=0"});
  run("parts", {shuffled, "eval.every=0", "train.iterations=2"});
  run("parts", {shuffled, "eval.every=0"}, true);
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_EQ(comparable_metrics(folder_ / "whole"), comparable_metrics(folder_ / "parts"));
  EXPECT_NE(weights("whole"), weights("plain"));
}

TEST_F(TrainerTest, EveryLoggedKeyIsInTheCatalog) {
  run("a", {"train.iterations=2", "rhythm.credit=coupled"});
  std::istringstream lines(read_text((folder_ / "a") + "/metrics.jsonl"));
  std::string line;
  std::map<std::string, double> values;
  while (std::getline(lines, line)) {
    const core::Json row = core::Json::parse(line);
    for (const auto& [key, value] : row.items())
      if (key != "event" && key != "iteration") values[key] = 0;
  }
  EXPECT_GT(values.size(), 60u);
  EXPECT_THAT(metrics::unknown_keys(values), ::testing::IsEmpty());
}

TEST_F(TrainerTest, RefusesAFolderThatHoldsARun) {
  run("a", {"train.iterations=1"});
  try {
    run("a", {"train.iterations=1"});
    FAIL() << "a second run into the same folder was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("pan-ppo resume"));
  }
}

TEST_F(TrainerTest, ChangedSettingNeedsAllowChange) {
  run("a", {"train.iterations=1"});
  try {
    run("a", {"rhythm.lambda=0.3"}, true);
    FAIL() << "a changed lambda was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("/rhythm/lambda: 0.1 -> 0.3"));
  }
  EXPECT_EQ(run("a", {"rhythm.lambda=0.3"}, true, true).iterations, 4);
}

TEST_F(TrainerTest, GroupEstimatorsNeedNoCritic) {
  for (const char* estimator : {"grpo", "rloo"}) {
    run(estimator, {std::string("advantage.estimator=") + estimator, "train.iterations=2",
                    "critic.warmup_iterations=0"});
    EXPECT_THROW(weights(estimator, "critic"), std::exception);
  }
}

}  // namespace
}  // namespace pan::train
