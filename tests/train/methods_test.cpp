// Every method of the update in a whole run: it changes what is learned, says so in the metrics, and resumes
// bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

using pan::testing::comparable_metrics;
using pan::testing::read_text;

// A random model is always wrong; this pays 1 for an answer with an odd number of bytes, else 0.
const char* const kProgram = R"(while read -r line; do r=${line#*\"response\":}; r=${r%%\",\"answer*}
  echo "{\"reward\":$((${#r} % 2))}"; done)";

using Rows = std::vector<core::Json>;

class MethodRun : public pan::testing::TinyRun {
 protected:
  // About half of the answers meet the stop string before the limit of their length.
  void run(const std::string& name, const std::vector<std::string>& settings, int iterations,
           bool resume = false) {
    std::vector<std::string> all = {"eval.every=0",
                                    "critic.warmup_iterations=0",
                                    "advantage.estimator=grpo",
                                    "rollout.max_new_tokens=24",
                                    R"(rollout.stop_strings=["w"])",
                                    "reward.timeout_s=10",
                                    "reward.command=" + core::Json(kProgram).dump(),
                                    "train.iterations=" + std::to_string(iterations)};
    all.insert(all.end(), settings.begin(), settings.end());
    TinyRun::run(name, all, resume);
  }
  // rollouts.jsonl without what rhythm says of the answers.
  Rows samples(const std::string& name) {
    std::istringstream lines(file(name, "rollouts.jsonl"));
    Rows out;
    for (std::string line; std::getline(lines, line);) {
      core::Json row = core::Json::parse(line);
      row.erase("steps");
      row["rewards"].erase("rhythm");
      out.push_back(std::move(row));
    }
    return out;
  }
};

struct Method {
  const char* name;
  std::vector<std::string> settings;
  std::function<void(const core::Json& row)> check;  // of each iteration's metrics
};

void nothing_more(const core::Json&) {}

void some_penalty(const core::Json& row) { EXPECT_GT(row.at("reward/length_penalty/mean").get<double>(), 0); }

void half_weights(const core::Json& row) {
  EXPECT_EQ(row.at("actor/importance_mean").get<double>(), 0.5);
  EXPECT_EQ(row.at("actor/importance_capped_share").get<double>(), 1);
}

void some_masked(const core::Json& row) {
  EXPECT_GT(row.at("actor/masked_sequences").get<double>(), 0);
  EXPECT_LT(row.at("actor/masked_sequences").get<double>(), row.at("training/num_sequences").get<double>());
}

const Method kMethods[] = {
    {"dr_grpo", {"advantage.estimator=dr_grpo"}, nothing_more},
    {"rloo", {"advantage.estimator=rloo"}, nothing_more},
    {"reinforce_plus_plus", {"advantage.estimator=reinforce_plus_plus"}, nothing_more},
    {"reinforce_plus_plus_baseline", {"advantage.estimator=reinforce_plus_plus_baseline"}, nothing_more},
    {"gspo", {"ppo.policy_loss=gspo", "ppo.clip_low=3e-4", "ppo.clip_high=4e-4"}, nothing_more},
    {"cispo", {"ppo.policy_loss=cispo"}, nothing_more},
    {"importance_cap", {"ppo.importance_cap=0.5"}, half_weights},
    {"mask_truncated", {"advantage.mask_truncated=true"}, some_masked},
    {"missing_eos_penalty", {"advantage.missing_eos_penalty=0.5"}, some_penalty},
    {"overlong_penalty",
     {"advantage.overlong_buffer_tokens=16", "advantage.overlong_penalty=0.7"},
     some_penalty},
};

class EveryMethod : public MethodRun, public ::testing::WithParamInterface<Method> {};
INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod, ::testing::ValuesIn(kMethods),
                         [](const auto& m) { return std::string(m.param.name); });

TEST_P(EveryMethod, LearnsSomethingElseAndResumesBitForBit) {
  const Method& method = GetParam();
  run("plain", {}, 2);
  run("whole", method.settings, 2);
  run("parts", method.settings, 1);
  run("parts", method.settings, 2, true);
  EXPECT_EQ(weights("whole"), weights("parts"));
  EXPECT_EQ(file("whole", "checkpoints/latest/policy_optimizer.safetensors"),
            file("parts", "checkpoints/latest/policy_optimizer.safetensors"));
  EXPECT_EQ(file("whole", "rollouts.jsonl"), file("parts", "rollouts.jsonl"));
  EXPECT_EQ(comparable_metrics(folder_ / "whole"), comparable_metrics(folder_ / "parts"));
  EXPECT_NE(weights("whole"), weights("plain"));
  EXPECT_NE(weights("whole"), read_text(model_ + "/model.safetensors"));
  const Rows iterations = rows("whole", "iteration");
  ASSERT_EQ(iterations.size(), 2u);
  for (const core::Json& row : iterations) {
    EXPECT_EQ(row.at("actor/optimizer_steps").get<double>(), 2);
    EXPECT_TRUE(std::isfinite(row.at("actor/pg_loss").get<double>()));
    method.check(row);
  }
  EXPECT_THROW(file("whole", "checkpoints/latest/critic/model.safetensors"), std::exception);
}

// The constant that Dr. GRPO divides by comes with the estimator; token-mean has to be asked for.
TEST_F(MethodRun, DrGrpoBringsItsAggregation) {
  run("auto", {"advantage.estimator=dr_grpo"}, 1);
  run("norm", {"advantage.estimator=dr_grpo", "ppo.aggregation=seq-mean-token-sum-norm"}, 1);
  run("mean", {"advantage.estimator=dr_grpo", "ppo.aggregation=token-mean"}, 1);
  EXPECT_EQ(weights("auto"), weights("norm"));
  EXPECT_NE(weights("auto"), weights("mean"));
  run("grpo", {}, 1);
  run("grpo mean", {"ppo.aggregation=token-mean"}, 1);
  EXPECT_EQ(weights("grpo"), weights("grpo mean"));
}

TEST_F(MethodRun, LambdaZeroEqualsRhythmOffWithoutCriticToo) {
  for (const std::string estimator : {"grpo", "rloo"}) {
    SCOPED_TRACE(estimator);
    const std::string set = "advantage.estimator=" + estimator;
    run("off " + estimator, {set, "rhythm.enabled=false"}, 3);
    run("zero " + estimator, {set, "rhythm.lambda=0"}, 3);
    run("on " + estimator, {set}, 3);
    const std::string off = folder_ / ("off " + estimator), zero = folder_ / ("zero " + estimator);
    EXPECT_EQ(weights("off " + estimator), weights("zero " + estimator));
    EXPECT_EQ(samples("off " + estimator), samples("zero " + estimator));
    EXPECT_EQ(comparable_metrics(off, {"rhythm/"}), comparable_metrics(zero, {"rhythm/"}));
    EXPECT_NE(weights("on " + estimator), weights("off " + estimator));
    EXPECT_NE(file("zero " + estimator, "metrics.jsonl").find("rhythm/preplan_entropy"), std::string::npos);
  }
}

TEST_F(MethodRun, RolloutsSayWhatTheLossWasPaid) {
  run("a",
      {"kl.in=reward", "kl.controller=fixed", "kl.coefficient=0.5", "advantage.missing_eos_penalty=0.5",
       "advantage.overlong_buffer_tokens=16", "advantage.overlong_penalty=0.7"},
      2);
  const Rows iterations = rows("a", "iteration");
  ASSERT_EQ(iterations.size(), 2u);
  std::vector<double> totals(2, 0.0), counts(2, 0.0), penalties(2, 0.0);
  double kl = 0, rhythm = 0, paid = 0;
  std::istringstream lines(file("a", "rollouts.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const core::Json row = core::Json::parse(line), r = row.at("rewards");
    const auto number = [&](const char* key) { return r.at(key).get<double>(); };
    EXPECT_NEAR(number("total"), number("task") + number("length_penalty") + number("kl") + number("rhythm"),
                1e-9);
    const auto i = row.at("iteration").get<size_t>() - 1;
    totals[i] += number("total"), counts[i] += 1, penalties[i] -= number("length_penalty");
    kl += std::abs(number("kl")), rhythm += std::abs(number("rhythm"));
    double of_steps = 0;
    if (row.contains("steps"))
      for (const core::Json& step : row.at("steps")) {
        of_steps += step.at("paid").get<double>();
        EXPECT_TRUE(step.contains("entropy_term") && step.contains("concentration_term"));
      }
    paid += std::abs(of_steps);
    const bool taken_back = row.at("finish") == "length" && of_steps > 0;
    EXPECT_NEAR(taken_back ? 0 : of_steps, number("rhythm"), 1e-9);
  }
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(totals[i] / counts[i], iterations[i].at("critic/rewards/mean").get<double>(), 1e-6);
    EXPECT_NEAR(penalties[i] / counts[i], iterations[i].at("reward/length_penalty/mean").get<double>(), 1e-6);
    EXPECT_GT(penalties[i], 0);
  }
  EXPECT_GT(kl, 0);
  EXPECT_GT(rhythm, 0);
  EXPECT_GT(paid, 0);
}

// Without importance weights one still sees how far sampler and trainer are apart.
TEST_F(MethodRun, SamplerMismatchIsLoggedWithoutImportanceCap) {
  run("a", {}, 2);
  const Rows iterations = rows("a", "iteration");
  ASSERT_EQ(iterations.size(), 2u);
  for (const core::Json& row : iterations) {
    for (const char* key :
         {"training/rollout_probs_diff_mean", "training/rollout_probs_diff_max",
          "training/rollout_probs_diff_std", "training/rollout_actor_probs_pearson_corr", "rollout_corr/kl",
          "rollout_corr/k3_kl", "rollout_corr/ratio_mean", "rollout_corr/ratio_max", "rollout_corr/ess"})
      ASSERT_TRUE(row.contains(key)) << key;
    EXPECT_LT(row.at("training/rollout_probs_diff_max").get<double>(), 1e-4);  // one model, one precision
    EXPECT_NEAR(row.at("rollout_corr/ratio_mean").get<double>(), 1, 1e-4);
    EXPECT_GT(row.at("rollout_corr/ess").get<double>(), 0.99);
    EXPECT_FALSE(row.contains("actor/importance_mean"));
  }
}

}  // namespace
}  // namespace pan::train
