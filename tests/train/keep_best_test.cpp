// Which checkpoints stay, and which models are loaded.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "train/session.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

namespace fs = std::filesystem;

using KeepBest = pan::testing::TinyRun;

TEST_F(KeepBest, TheBestByTheMetricStaysWhenLaterOnesCome) {
  for (const std::string better : {"higher", "lower"}) {
    run(better,
        {"train.iterations=6", "eval.every=1", "eval.at_start=false", "eval.temperature=1",
         "eval.max_new_tokens=24", "eval.num_problems=6", R"(rollout.stop_strings=["w"])",
         "optimizer.lr=1e-2", "checkpoint.every=1", "checkpoint.keep_last=1", "checkpoint.keep_best=1",
         "checkpoint.metric=eval/response_length/mean", "checkpoint.better=" + better});
    int best = 0;
    double value = 0;
    for (const core::Json& row : rows(better, "evaluation")) {
      const double length = row.at("eval/response_length/mean");
      if (best == 0 || (better == "higher" ? length > value : length < value))
        value = length, best = row.at("iteration");
    }
    ASSERT_GT(best, 0);
    const std::string checkpoints = (folder_ / better) + "/checkpoints";
    char name[32];
    std::snprintf(name, sizeof name, "step_%06d", best);
    EXPECT_EQ(fs::read_symlink(checkpoints + "/best").string(), name) << better;
    EXPECT_EQ(fs::read_symlink(checkpoints + "/latest").string(), "step_000006");
    EXPECT_TRUE(fs::exists(checkpoints + "/" + name + "/policy/model.safetensors"));
    size_t kept = 0;
    for (const auto& entry : fs::directory_iterator(checkpoints))
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
