// Which checkpoints stay, and which models are loaded.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "core/log.h"
#include "support/support.h"
#include "train/session.h"
#include "train/tiny_run.h"
#include "train/trainer.h"

namespace pan::train {
namespace {

namespace fs = std::filesystem;

class KeepBest : public ::testing::Test {
 protected:
  void SetUp() override {
    core::set_log_level(core::LogLevel::kError);
    pan::testing::make_tiny_model(model_, 5);
  }
  void TearDown() override {
    core::set_log_file("");
    core::set_log_level(core::LogLevel::kInfo);
  }
  pan::testing::TempFolder folder_;
  std::string model_ = folder_ / "model";
};

TEST_F(KeepBest, TheBestByTheMetricStaysWhenLaterOnesCome) {
  for (const std::string better : {"higher", "lower"}) {
    const std::string run = folder_ / better;
    train({.config = pan::testing::tiny_config(
               model_,
               {"train.iterations=6", "eval.every=1", "eval.at_start=false", "eval.temperature=1",
                "eval.max_new_tokens=24", "eval.num_problems=6", R"(rollout.stop_strings=["w"])",
                "optimizer.lr=1e-2", "checkpoint.every=1", "checkpoint.keep_last=1", "checkpoint.keep_best=1",
                "checkpoint.metric=eval/response_length/mean", "checkpoint.better=" + better}),
           .run_dir = run});
    std::istringstream lines(pan::testing::read_text(run + "/metrics.jsonl"));
    int best = 0;
    double value = 0;
    for (std::string line; std::getline(lines, line);) {
      const core::Json row = core::Json::parse(line);
      if (row.at("event") != "evaluation") continue;
      const double length = row.at("eval/response_length/mean");
      if (best == 0 || (better == "higher" ? length > value : length < value))
        value = length, best = row.at("iteration");
    }
    ASSERT_GT(best, 0);
    char name[32];
    std::snprintf(name, sizeof name, "step_%06d", best);
    EXPECT_EQ(fs::read_symlink(run + "/checkpoints/best").string(), name) << better;
    EXPECT_EQ(fs::read_symlink(run + "/checkpoints/latest").string(), "step_000006");
    EXPECT_TRUE(fs::exists(run + "/checkpoints/" + name + "/policy/model.safetensors"));
    size_t kept = 0;
    for (const auto& entry : fs::directory_iterator(run + "/checkpoints"))
      kept += entry.path().filename().string().rfind("step_", 0) == 0 && !entry.is_symlink();
    EXPECT_EQ(kept, best == 6 ? 1u : 2u) << better;
  }
}

TEST_F(KeepBest, NoReferenceModelIsLoadedWithoutAKlTerm) {
  const auto with = open_session(pan::testing::tiny_config(model_, {}));
  EXPECT_NE(with->reference, nullptr);
  EXPECT_NE(with->models().reference, nullptr);
  const auto without =
      open_session(pan::testing::tiny_config(model_, {"kl.coefficient=0", "kl.controller=fixed"}));
  EXPECT_EQ(without->reference, nullptr);
  EXPECT_EQ(without->models().reference, nullptr);
}

}  // namespace
}  // namespace pan::train
