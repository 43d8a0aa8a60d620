// Stopping the program: signals in each phase, the time limit. A stopped run goes on as if nothing had been.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "integration/cli_support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kAttempts = 8;  // a loaded machine may let the phase end before the signal comes

class Stop : public Cli {
 protected:
  // Many sequences, each scored and trained on by itself: phases long enough to be hit.
  Stop()
      : config_(write_config({"train.iterations=3", "eval.every=0", "train.prompts_per_iteration=24",
                              "ppo.minibatch_size=24", "ppo.micro_batch_tokens=1"})) {}

  Words command(const std::string& run) const {
    return {"--debug", "train", "--config", config_, "--run-dir", path(run), "--auto-resume"};
  }

  void expect_same(const std::string& left_alone, const std::string& stopped) const {
    EXPECT_EQ(comparable_metrics(path(left_alone)), comparable_metrics(path(stopped)));
    for (const char* file :
         {"/rollouts.jsonl", "/checkpoints/latest/policy/model.safetensors",
          "/checkpoints/latest/critic/model.safetensors", "/checkpoints/latest/policy_optimizer.safetensors"})
      EXPECT_EQ(read_text(path(left_alone) + file), read_text(path(stopped) + file)) << file;
  }

  // Sends SIGINT in iteration 2's phase, resumes and compares with a run that was left alone.
  void stop_in(const std::string& phase, const std::string& expected) {
    ASSERT_EQ(pan(command("whole")).code, 0);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const std::string name = "stopped" + std::to_string(attempt);
      Running run(command(name), path("out"), path("err"));
      ASSERT_TRUE(run.says("iteration 2: " + phase)) << read_text(path("err"));
      const auto begin = std::chrono::steady_clock::now();
      run.signal(SIGINT);
      const Result r = run.wait();
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
      ASSERT_EQ(r.code, 0) << r.err;
      if (r.err.find(expected) == std::string::npos) continue;
      EXPECT_NE(r.err.find("go on with: pan-ppo resume " + path(name)), std::string::npos) << r.err;
      ASSERT_EQ(pan({"resume", path(name)}).code, 0);
      expect_same("whole", name);
      return;
    }
    FAIL() << "no signal hit the phase: " << expected;
  }

  std::string config_;
};

TEST_F(Stop, InRolloutDropsTheIteration) {
  stop_in("sampling", "stopped while sampling: iteration 2 is dropped");
}

TEST_F(Stop, InScoringDropsTheIteration) {
  stop_in("scoring", "stopped while scoring: iteration 2 is dropped");
}

TEST_F(Stop, InUpdateEndsAtAResumablePoint) { stop_in("updating", "stopped after"); }

TEST_F(Stop, TerminatesLikeAnInterrupt) {
  Running run(command("run"), path("out"), path("err"));
  ASSERT_TRUE(run.says("iteration 1: scoring"));
  run.signal(SIGTERM);
  const Result r = run.wait();
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("pan-ppo resume"), std::string::npos);
}

TEST_F(Stop, TwoProcessesDoNotShareARunFolder) {
  Words words = command("run");
  words.insert(words.end(), {"--set", "train.iterations=1000"});
  Running first(words, path("out"), path("err"));
  ASSERT_TRUE(first.says("iteration 1: sampling"));
  expect_error(pan({"resume", path("run")}), 2, {"another process", path("run"), "got"});
  first.signal(SIGTERM);
  EXPECT_EQ(first.wait().code, 0);
}

TEST_F(Stop, SecondInterruptLeavesAtOnce) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Running run(command("run" + std::to_string(attempt)), path("out"), path("err"));
    ASSERT_TRUE(run.says("iteration 1: sampling"));
    run.signal(SIGINT);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // two at once are one
    run.signal(SIGINT);
    const Result r = run.wait();
    if (r.code == 0) continue;  // it had ended before the second one
    EXPECT_EQ(r.code, 130);
    return;
  }
  FAIL() << "every run ended before its second signal";
}

TEST_F(Stop, TimeLimitStartsNothingThatWouldNotFit) {
  ASSERT_EQ(pan(command("whole")).code, 0);
  ASSERT_EQ(pan({"train", "--config", config_, "--run-dir", path("run"), "--set", "train.iterations=1"}).code,
            0);
  const std::string metrics = read_text(path("run/metrics.jsonl"));
  // The log says how long an iteration takes: none is begun.
  const Result r = pan({"resume", path("run"), "--set", "train.iterations=3", "--time-limit", "0.01s"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("would not end within the time limit"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("pan-ppo resume"), std::string::npos) << r.err;
  EXPECT_EQ(read_text(path("run/metrics.jsonl")), metrics);
  ASSERT_EQ(pan({"resume", path("run"), "--set", "train.iterations=3", "--time-limit", "1h"}).code, 0);
  expect_same("whole", "run");
}

}  // namespace
}  // namespace pan::testing
