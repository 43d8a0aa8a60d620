#include "train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/signals.h"
#include "metrics/catalog.h"
#include "support/support.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

using pan::testing::comparable_metrics;
using pan::testing::read_text;
using pan::testing::tiny_config;

using TrainerTest = pan::testing::TinyRun;

// One figure of every iteration; NaN where it is absent.
std::vector<double> series(const std::string& run_dir, const std::string& key) {
  std::istringstream lines(read_text(run_dir + "/metrics.jsonl"));
  std::string line;
  std::vector<double> out;
  while (std::getline(lines, line)) {
    const core::Json row = core::Json::parse(line);
    if (row.at("event") == "iteration") out.push_back(row.value(key, std::nan("")));
  }
  return out;
}

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

// The policy takes 2 steps in each of the 2 iterations after the critic's warm-up, the critic 2 in all 4.
TEST_F(TrainerTest, SchedulesEndWithTheStepsThatAModelTakes) {
  run("a", {"critic.warmup_iterations=2", "optimizer.schedule=linear", "critic_optimizer.schedule=linear",
            "eval.every=0"});
  const std::vector<double> actor = series(folder_ / "a", "actor/lr"),
                            critic = series(folder_ / "a", "critic/lr");
  ASSERT_EQ(actor.size(), 4u);
  EXPECT_DOUBLE_EQ(actor[2], 0.75e-3);  // of the second step
  EXPECT_DOUBLE_EQ(actor[3], 0.25e-3);
  ASSERT_EQ(critic.size(), 4u);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_DOUBLE_EQ(critic[i], 1e-3 * (1 - (2 * static_cast<double>(i) + 1) / 8)) << i;
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
  const std::string off = folder_ / "off", zero = folder_ / "zero", latest = "/checkpoints/latest/";
  for (const char* file : {"policy_optimizer.safetensors", "critic_optimizer.safetensors"})
    EXPECT_EQ(read_text(off + latest + file), read_text(zero + latest + file)) << file;
  // What is left of the state without the rhythm's own part: the KL controller, positions, best metrics.
  const auto state_of = [&](const std::string& run_dir) {
    core::Json state = core::read_json_file(run_dir + latest + "state.json").at("loop").at("state");
    for (const char* own : {"groups", "groups_iteration", "moments", "guard"}) state.erase(own);
    return state.dump();
  };
  EXPECT_EQ(state_of(off), state_of(zero));
  EXPECT_NE(state_of(off).find("iteration"), std::string::npos);
  // Samples, log-probabilities' finish, rewards by term: rows differ in the rhythm's figures alone.
  const auto rows_of = [&](const std::string& run_dir) {
    std::istringstream lines(read_text(run_dir + "/rollouts.jsonl"));
    std::vector<core::Json> rows;
    for (std::string line; std::getline(lines, line);) rows.push_back(core::Json::parse(line));
    return rows;
  };
  std::vector<core::Json> rows_off = rows_of(off), rows_zero = rows_of(zero);
  ASSERT_EQ(rows_off.size(), rows_zero.size());
  ASSERT_GE(rows_off.size(), 24u);
  for (size_t i = 0; i < rows_off.size(); ++i) {
    rows_off[i].erase("steps");
    rows_zero[i].erase("steps");
    if (rows_zero[i].contains("rewards")) rows_zero[i]["rewards"].erase("rhythm");
    if (rows_off[i].contains("rewards")) rows_off[i]["rewards"].erase("rhythm");
    EXPECT_EQ(rows_off[i].dump(), rows_zero[i].dump()) << "row " << i;
  }
  // The tap did run: four iterations with steps, and a refresh of the groups after the first.
  const std::vector<double> steps = series(zero, "rhythm/steps/mean"),
                            refreshed = series(zero, "rhythm/groups/refreshed");
  ASSERT_EQ(steps.size(), 4u);
  for (const double k : steps) EXPECT_GT(k, 0);
  EXPECT_EQ(refreshed, (std::vector<double>{1, 0, 1, 0}));
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
  for (const std::string prefix : {"reward/", "eval/"})
    for (const char* key : {"cell_accuracy", "cell_accuracy/2x2", "accuracy/2x2", "no_answer_rate/2x2"})
      EXPECT_TRUE(values.count(prefix + key)) << prefix << key;
  EXPECT_THAT(metrics::unknown_keys(values), ::testing::IsEmpty());
}

TEST_F(TrainerTest, DynamicSamplingTrainsOnlyOnPromptsWhoseAnswersDiffer) {
  // A random model is always wrong; this pays 1 for an answer with an odd number of bytes, else 0.
  const std::string program = R"(while read -r line; do
    x=${line#*\"id\":}; id=${x%%,*}; r=${line#*\"response\":}; r=${r%%\",\"answer*}; n=$((${#r} % 2))
    echo "{\"id\":$id,\"reward\":$n}"; done)";
  for (const std::string estimator : {"gae", "grpo"}) {
    const std::vector<std::string> on = {"train.dynamic_sampling.enabled=true",
                                         "advantage.estimator=" + estimator,
                                         "train.dynamic_sampling.max_refills=2",
                                         "reward.timeout_s=10",
                                         "reward.command=" + core::Json(program).dump(),
                                         "eval.every=0",
                                         "rollout.max_new_tokens=96"};
    run("whole" + estimator, on);
    std::vector<std::string> half = on;
    half.push_back("train.iterations=2");
    run("parts" + estimator, half);
    run("parts" + estimator, on, true);
    const std::string whole = folder_ / ("whole" + estimator), parts = folder_ / ("parts" + estimator);
    EXPECT_EQ(weights("whole" + estimator), weights("parts" + estimator));
    EXPECT_EQ(comparable_metrics(whole), comparable_metrics(parts));
    EXPECT_EQ(read_text(whole + "/rollouts.jsonl"), read_text(parts + "/rollouts.jsonl"));
    const auto kept = series(whole, "sampling/kept_prompts"),
               dropped = series(whole, "sampling/dropped_prompts"),
               refills = series(whole, "sampling/refills"), flat = series(whole, "reward/zero_std_share"),
               sequences = series(whole, "training/num_sequences");
    ASSERT_EQ(kept.size(), 4u);
    double all_kept = 0, all_dropped = 0;
    for (size_t i = 0; i < kept.size(); ++i) {
      all_kept += kept[i];
      all_dropped += dropped[i];
      EXPECT_EQ(sequences[i], 2 * kept[i]);
      EXPECT_TRUE(kept[i] == 4 || refills[i] == 2);
      if (kept[i] > 0) {
        EXPECT_EQ(flat[i], 0);
      }
    }
    EXPECT_GT(all_dropped, 0);
    EXPECT_GT(all_kept, 0);
  }
}

TEST_F(TrainerTest, DynamicSamplingWithoutAnythingToLearnSkipsTheUpdate) {
  // Answers of one token are all wrong and unreadable.
  run("a", {"train.dynamic_sampling.enabled=true", "train.dynamic_sampling.max_refills=1",
            "rollout.max_new_tokens=1", "eval.every=0"});
  EXPECT_EQ(series(folder_ / "a", "sampling/kept_prompts"), (std::vector<double>{0, 0, 0, 0}));
  EXPECT_EQ(series(folder_ / "a", "sampling/dropped_prompts"), (std::vector<double>{8, 8, 8, 8}));
  EXPECT_EQ(series(folder_ / "a", "sampling/refills"), (std::vector<double>{1, 1, 1, 1}));
  EXPECT_EQ(weights("a"), read_text(model_ + "/model.safetensors"));
}

TEST_F(TrainerTest, GradientCheckpointingTrainsTheSameBits) {
  run("plain", {"eval.every=0", "train.iterations=2"});
  run("saving", {"eval.every=0", "train.iterations=2", "model.gradient_checkpointing=true"});
  EXPECT_EQ(weights("plain"), weights("saving"));
  EXPECT_EQ(weights("plain", "critic"), weights("saving", "critic"));
  EXPECT_EQ(comparable_metrics(folder_ / "plain"), comparable_metrics(folder_ / "saving"));
}

TEST_F(TrainerTest, AdaptersResumeBitForBitAndLeaveTheBaseAlone) {
  for (const std::string& type : {std::string("float32"), std::string("bfloat16")}) {
    const std::vector<std::string> lora = {"model.lora.rank=4", "model.dtype=" + type};
    auto with = [&](const std::vector<std::string>& more) {
      std::vector<std::string> all = lora;
      all.insert(all.end(), more.begin(), more.end());
      return all;
    };
    const std::string before = read_text(model_ + "/model.safetensors");
    run("whole_" + type, lora);
    run("parts_" + type, with({"train.iterations=2"}));
    run("parts_" + type, lora, true);
    for (const char* model : {"policy", "critic"})
      EXPECT_EQ(weights("whole_" + type, model), weights("parts_" + type, model)) << type;
    for (const char* file : {"policy_adapter", "critic_adapter"}) {
      const std::string adapter = std::string("/checkpoints/latest/") + file + "/adapter_model.safetensors";
      EXPECT_EQ(read_text((folder_ / ("whole_" + type)) + adapter),
                read_text((folder_ / ("parts_" + type)) + adapter))
          << type;
    }
    EXPECT_EQ(comparable_metrics(folder_ / ("whole_" + type)),
              comparable_metrics(folder_ / ("parts_" + type)));
    EXPECT_EQ(read_text(model_ + "/model.safetensors"), before);
  }
}

// The reference model is the policy without its adapters: at the start there is no difference, later there
// is.
TEST_F(TrainerTest, ReferenceOfAdaptersIsTheModelTheyStartFrom) {
  run("lora", {"model.lora.rank=4", "optimizer.lr=1e-2", "train.iterations=3", "critic.warmup_iterations=0"});
  std::vector<double> kl;
  std::istringstream lines(comparable_metrics(folder_ / "lora"));
  for (std::string line; std::getline(lines, line);) {
    const core::Json event = core::parse_json(line, "metrics.jsonl");
    if (event.contains("critic/kl")) kl.push_back(event["critic/kl"].get<double>());
  }
  ASSERT_EQ(kl.size(), 3u);
  EXPECT_EQ(kl[0], 0);
  EXPECT_NE(kl[2], 0);
}

TEST_F(TrainerTest, SkippedPromptsAreCountedAlsoAfterAResume) {
  const std::vector<std::string> skip = {"task.sizes=[\"2x2\",\"5x5\"]", "train.max_prompt_tokens=120",
                                         "train.overlong_prompts=skip", "eval.every=0"};
  run("whole", skip);
  const std::vector<double> skipped = series(folder_ / "whole", "prompts/skipped");
  ASSERT_EQ(skipped.size(), 4u);
  EXPECT_GT(skipped.back(), 0);
  EXPECT_TRUE(std::is_sorted(skipped.begin(), skipped.end()));
  for (const double length : series(folder_ / "whole", "prompt_length/max")) EXPECT_LE(length, 120);
  std::vector<std::string> half = skip;
  half.push_back("train.iterations=2");
  run("parts", half);
  run("parts", skip, true);
  EXPECT_EQ(series(folder_ / "parts", "prompts/skipped"), skipped);
}

TEST_F(TrainerTest, ALateOverlongPromptStopsAtACheckpoint) {
  // The seventh problem, in the second iteration, is the first of the long ones.
  const std::vector<std::string> late = {"task.curriculum=[\"0: 2x2\",\"6: 5x5\"]",
                                         "train.max_prompt_tokens=120", "eval.every=0", "checkpoint.every=0"};
  const std::string run_dir = folder_ / "late";
  try {
    train({.config = tiny_config(model_, late), .run_dir = run_dir, .read_ahead_s = 0});
    FAIL() << "an overlong prompt was trained on";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kData);
    for (const char* part : {"a prompt is too long", "train-seed1-6", "max_prompt_tokens = 120",
                             "saved at iteration 1", "pan-ppo resume"})
      EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
  }
  EXPECT_EQ(series(run_dir, "prompts/skipped"), std::vector<double>{0});
  core::set_log_file("");
  // From there it goes on once the prompts fit.
  std::vector<std::string> fits = late;
  fits[0] = "task.curriculum=[\"0: 2x2\"]";
  EXPECT_EQ(run("late", fits, true, true).iterations, 4);
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
