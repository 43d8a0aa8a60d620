// A request to stop: every unit of work asks for it, none is begun after it, and the run goes on from there
// as if nothing had been.
#include <ATen/core/grad_mode.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "core/error.h"
#include "core/log.h"
#include "eval/evaluate.h"
#include "support/stop_at_line.h"
#include "train/stages.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

using pan::testing::comparable_metrics;
using pan::testing::tiny_config;

// ---- polls ----

// Says yes at question number `at`.
struct Asked {
  int64_t at = INT64_MAX;
  int64_t count = 0;
  bool ask() { return ++count >= at; }
};

class Polls : public pan::testing::TinyRun {
 protected:
  // One row at a time, one sequence in a micro-batch: units of work that can be counted.
  void SetUp() override {
    session_ =
        open_session(tiny_config(model_, {"rollout.slots=1", "eval.slots=1", "ppo.micro_batch_tokens=1"}));
    hooks_.should_stop = [this] { return asked_.ask(); };
    hooks_.should_drop_update = [this](double) { return asked_.ask(); };
    it_.index = 1;  // after the critic's warm-up
  }

  static int64_t tokens_of(const Iteration& it) {
    int64_t tokens = 0;
    for (const rollout::Sample& sample : it.samples) tokens += static_cast<int64_t>(sample.response.size());
    return tokens;
  }
  int64_t update_micro_batches() const {
    int64_t n = 0;
    for (const rl::EpochPlan& epoch : it_.plan.epochs)
      for (const rl::Minibatch& minibatch : epoch) n += static_cast<int64_t>(minibatch.size());
    return 2 * n;  // critic and policy
  }
  eval::Evaluation evaluate() {
    return eval::evaluate({.decoder = *session_->policy,
                           .tokenizer = *session_->tokenizer,
                           .task = *session_->task,
                           .encode = session_->encoder(),
                           .stop_tokens = session_->stop_tokens,
                           .config = session_->config.eval,
                           .default_max_new_tokens = 8,
                           .seed = 3,
                           .description = "{}",
                           .should_stop = hooks_.should_stop});
  }
  void prepare_update() {
    run_rhythm(*session_, it_);
    run_advantages(*session_, it_);
  }
  // `work` is asked `at` times, says yes to the last one, and is not asked again.
  template <class F>
  void expect_stops(int64_t at, F&& work) {
    asked_ = {.at = at};
    try {
      work();
      ADD_FAILURE() << "the stop at question " << at << " was not heard";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kInterrupted) << error.what();
    }
    EXPECT_EQ(asked_.count, at);
  }

  std::unique_ptr<Session> session_;
  StageHooks hooks_;
  Iteration it_;
  Asked asked_;
};

TEST_F(Polls, SamplingAsksForEveryToken) {
  run_rollout(*session_, it_, hooks_);
  const int64_t asked = asked_.count;
  EXPECT_GE(tokens_of(it_), 8);
  EXPECT_GE(asked, tokens_of(it_));
  for (const int64_t at : {int64_t{1}, int64_t{2}, asked / 2})
    expect_stops(at, [&] {
      Iteration it;
      run_rollout(*session_, it, hooks_);
    });
}

TEST_F(Polls, CalibrationAndScoringAskForEveryMicroBatch) {
  run_rollout(*session_, it_, {});
  const auto calibrated = session_->config.rhythm.calibration_sequences;
  run_scoring(*session_, it_, hooks_);
  const int64_t asked = asked_.count;
  EXPECT_GE(asked, calibrated + static_cast<int64_t>(it_.plan.scoring().size()));
  EXPECT_EQ(it_.plan.scoring().size(), it_.sequences.size());
  for (int64_t at = 1; at <= asked; ++at) {
    session_->state.groups_iteration = -1;
    expect_stops(at, [&] { run_scoring(*session_, it_, hooks_); });
    // Groups count once they are complete.
    EXPECT_EQ(session_->state.groups_iteration, at <= 2 * calibrated ? -1 : it_.index) << at;
  }
}

TEST_F(Polls, TheUpdateAsksForEveryMicroBatch) {
  run_rollout(*session_, it_, {});
  run_scoring(*session_, it_, {});
  prepare_update();
  const int64_t expected = update_micro_batches();
  for (const int64_t at : {int64_t{1}, expected / 2 + 1, expected}) {
    asked_ = {.at = at};
    EXPECT_FALSE(run_update(*session_, it_, hooks_));
    EXPECT_EQ(asked_.count, at);
  }
  asked_ = {};
  EXPECT_TRUE(run_update(*session_, it_, hooks_));
  EXPECT_EQ(asked_.count, expected);
}

TEST_F(Polls, AnEvaluationAsksForEveryToken) {
  const eval::Evaluation e = evaluate();
  const int64_t asked = asked_.count;
  EXPECT_GE(asked, std::llround(e.metrics.at("response_length/mean") * static_cast<double>(e.num_samples)));
  for (const int64_t at : {int64_t{1}, asked / 2, asked}) expect_stops(at, [&] { evaluate(); });
}

// ---- the run ----

class StoppedRun : public pan::testing::TinyRun {
 protected:
  // What the run logs, line by line.
  std::vector<std::string> run(const std::string& name, bool resume, TrainOutcome& outcome,
                               const std::vector<std::string>& settings = {}) {
    core::set_log_level(core::LogLevel::kDebug);
    ::testing::internal::CaptureStderr();
    outcome = train({.config = tiny_config(model_, settings), .run_dir = folder_ / name, .resume = resume});
    std::istringstream text(::testing::internal::GetCapturedStderr());
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    core::set_log_file("");
    return lines;
  }
  void expect_same(const std::string& whole, const std::string& parts) {
    EXPECT_EQ(comparable_metrics(folder_ / whole), comparable_metrics(folder_ / parts));
    for (const char* name :
         {"rollouts.jsonl", "eval/step_000004/samples.jsonl", "checkpoints/latest/policy/model.safetensors",
          "checkpoints/latest/critic/model.safetensors", "checkpoints/best/policy/model.safetensors",
          "checkpoints/latest/policy_optimizer.safetensors"})
      EXPECT_EQ(file(whole, name), file(parts, name)) << name;
  }
};

TEST_F(StoppedRun, GoesOnBitForBitFromEachPhase) {
  TrainOutcome outcome;
  run("first", false, outcome);  // warnings that come once per process are out of the way
  const std::vector<std::string> whole = run("whole", false, outcome);
  ASSERT_EQ(outcome.end, TrainEnd::kDone);
  const std::vector<std::pair<std::string, std::string>> phases = {
      {"iteration 0: evaluating", "stopped while evaluating"},
      {"iteration 1: calibrating", "stopped while scoring: iteration 1 is dropped"},
      {"iteration 3: sampling", "stopped while sampling: iteration 3 is dropped"},
      {"iteration 3: scoring", "stopped while scoring: iteration 3 is dropped"},
      {"iteration 3: calibrating", "stopped while scoring: iteration 3 is dropped"},
      {"iteration 3: updating", "stopped before the first step of the update: iteration 3 is dropped"},
      {"iteration 2: evaluating", "stopped while evaluating"},
      {"iteration 4: evaluating", "stopped while evaluating"},
      {"iteration 2: writing", "checkpoint of iteration 2 written"}};
  for (const auto& [phase, said] : phases) {
    SCOPED_TRACE(phase);
    const std::string name = "stopped at " + phase;
    const auto at = std::find(whole.begin(), whole.end(), "debug: " + phase);
    ASSERT_NE(at, whole.end());
    std::vector<std::string> lines;
    {
      const pan::testing::StopAtLine stop(at - whole.begin() + 1);
      lines = run(name, false, outcome);
    }
    EXPECT_EQ(outcome.end, TrainEnd::kSignal);
    ASSERT_GT(lines.size(), static_cast<size_t>(at - whole.begin()));
    EXPECT_EQ(lines[static_cast<size_t>(at - whole.begin())], "debug: " + phase);
    EXPECT_THAT(lines, ::testing::Contains(::testing::HasSubstr(said)));
    run(name, true, outcome);
    EXPECT_EQ(outcome.end, TrainEnd::kDone);
    expect_same("whole", name);
  }
}

// The next tensor of this thread cannot be had, once armed.
class NoMemoryOnce : public c10::MemoryReportingInfoBase {
 public:
  void arm() { armed_ = true; }
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    if (!armed_ || bytes < 4096) return;
    armed_ = false;
    TORCH_CHECK_WITH(OutOfMemoryError, false, "out of memory, says the test");
  }
  bool memoryProfilingEnabled() const override { return true; }

 private:
  bool armed_ = false;
};

TEST_F(StoppedRun, ThatRunsOutOfMemoryKeepsWhatItHasLearnt) {
  // No checkpoint falls due before the end.
  const std::vector<std::string> settings = {"checkpoint.every=100", "eval.every=0"};
  TrainOutcome outcome;
  run("first", false, outcome, settings);
  const std::vector<std::string> whole = run("whole", false, outcome, settings);
  for (const char* phase : {"iteration 3: sampling", "iteration 3: scoring"}) {
    SCOPED_TRACE(phase);
    const auto at = std::find(whole.begin(), whole.end(), "debug: " + std::string(phase));
    ASSERT_NE(at, whole.end());
    const std::string name = "without memory at " + std::string(phase);
    {
      const auto no_memory = std::make_shared<NoMemoryOnce>();
      const pan::testing::AtLogLine arm(at - whole.begin() + 1, [&] { no_memory->arm(); });
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, no_memory);
      EXPECT_THROW(run(name, false, outcome, settings), c10::OutOfMemoryError);
      ::testing::internal::GetCapturedStderr();
      core::set_log_file("");
    }
    EXPECT_EQ(std::filesystem::canonical(folder_ / name + "/checkpoints/latest").filename(), "step_000002");
    run(name, true, outcome, settings);
    EXPECT_EQ(comparable_metrics(folder_ / "whole"), comparable_metrics(folder_ / name));
    EXPECT_EQ(weights("whole"), weights(name));
  }
}

}  // namespace
}  // namespace pan::train
