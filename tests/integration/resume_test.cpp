// What a resume takes up: the best checkpoint, changed settings, early stops, other weights, leftovers.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/json.h"
#include "integration/cli_support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

class Resume : public Cli {
 protected:
  core::Json json(const std::string& file) const { return core::Json::parse(read_text(path(file))); }

  // Name of each checkpoint with its metrics, and where the links point.
  std::string kept(const std::string& run) const {
    std::string text;
    for (const auto& entry : fs::directory_iterator(path(run + "/checkpoints"))) {
      const std::string name = entry.path().filename();
      if (entry.is_symlink())
        text += name + " -> " + fs::read_symlink(entry.path()).string() + "\n";
      else
        text += name + " " + json(run + "/checkpoints/" + name + "/manifest.json")["metrics"].dump() + "\n";
    }
    std::istringstream lines(text);
    std::set<std::string> sorted;
    for (std::string line; std::getline(lines, line);) sorted.insert(line);
    text.clear();
    for (const std::string& line : sorted) text += line + "\n";
    return text;
  }
};

// The signal has the evaluation of the iteration left out and the iteration saved: its metric comes later.
TEST_F(Resume, KeepsTheBestCheckpointWhoseEvaluationASignalPrevented) {
  for (const std::string better : {"lower", "higher"}) {
    const std::string config = write_config(
        {"train.iterations=6", "eval.every=2", "eval.num_problems=6", "eval.max_new_tokens=32",
         "eval.temperature=1", "checkpoint.every=2", "checkpoint.keep_last=1", "checkpoint.keep_best=1",
         "checkpoint.metric=eval/response_length/mean", "checkpoint.better=" + better,
         "train.prompts_per_iteration=24", "ppo.minibatch_size=24", "ppo.micro_batch_tokens=1"});
    const std::string whole = "whole_" + better;
    ASSERT_EQ(pan({"train", "--config", config, "--run-dir", path(whole)}).code, 0);
    bool hit = false;
    for (int attempt = 0; attempt < 8 && !hit; ++attempt) {
      const std::string name = better + std::to_string(attempt);
      Running run({"--debug", "train", "--config", config, "--run-dir", path(name)}, path("out"),
                  path("err"));
      ASSERT_TRUE(run.says("iteration 2: updating")) << read_text(path("err"));
      run.signal(SIGINT);
      const Result r = run.wait();
      ASSERT_EQ(r.code, 0) << r.err;
      if (r.err.find("checkpoint of iteration 2 written") == std::string::npos) continue;
      hit = json(name + "/checkpoints/step_000002/manifest.json")["metrics"].empty();
      if (!hit) continue;
      ASSERT_EQ(pan({"resume", path(name)}).code, 0);
      EXPECT_EQ(kept(name), kept(whole));
      EXPECT_EQ(json(name + "/checkpoints/latest/state.json")["loop"],
                json(whole + "/checkpoints/latest/state.json")["loop"]);
      EXPECT_EQ(comparable_metrics(path(name)), comparable_metrics(path(whole)));
    }
    EXPECT_TRUE(hit) << "no signal hit the update";
  }
}

TEST_F(Resume, KeepsTheSettingsItWasGiven) {
  ASSERT_EQ(train({}).code, 0);
  ASSERT_EQ(pan({"resume", path("run"), "--set", "train.iterations=2"}).code, 0);
  EXPECT_EQ(json("run/config.json")["train"]["iterations"], 2);
  expect_error(pan({"resume", path("run"), "--set", "rhythm.lambda=0.3"}), 2,
               {"/rhythm/lambda", "--allow-change"});
  EXPECT_NE(json("run/config.json")["rhythm"]["lambda"], 0.3) << "a refused change was written";
  const Words change = {"--set", "rhythm.lambda=0.3", "--allow-change"};
  Words words = {"resume", path("run")};
  words.insert(words.end(), change.begin(), change.end());
  ASSERT_EQ(pan(words).code, 0);  // nothing is left to do, and yet it is recorded
  const Result plain = pan({"resume", path("run"), "--set", "train.iterations=3"});
  EXPECT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(json("run/checkpoints/latest/state.json")["config"]["state"]["rhythm"]["lambda"], 0.3);
}

TEST_F(Resume, EndsAtOnceWhereTheRunStoppedEarly) {
  const std::string config = write_config(
      {"train.iterations=8", "eval.every=1", "train.early_stop_evals=2", "eval.max_new_tokens=1"});
  Result r = pan({"train", "--config", config, "--run-dir", path("run")});
  ASSERT_EQ(r.code, 0);
  ASSERT_NE(r.err.find("ended early after 2 iterations"), std::string::npos) << r.err;
  const std::string metrics = read_text(path("run/metrics.jsonl"));
  r = pan({"resume", path("run")});
  EXPECT_EQ(r.code, 0);
  EXPECT_NE(r.err.find("ended early after 2 iterations"), std::string::npos) << r.err;
  EXPECT_EQ(read_text(path("run/metrics.jsonl")), metrics);
}

TEST_F(Resume, AnotherMetricForgetsTheBestOfTheOldOne) {
  const std::string config = write_config({"train.iterations=2", "eval.every=1"});
  ASSERT_EQ(pan({"train", "--config", config, "--run-dir", path("run")}).code, 0);
  const Result r = pan({"resume", path("run"), "--set", "checkpoint.metric=eval/response_length/mean",
                        "--set", "checkpoint.better=lower", "--set", "train.iterations=3"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("the best so far is forgotten"), std::string::npos) << r.err;
  const core::Json loop = json("run/checkpoints/latest/state.json")["loop"]["state"];
  EXPECT_EQ(loop["best_iteration"], 3);
  EXPECT_GE(loop["best_metric"].get<double>(), 1);  // a length, and not a share
}

TEST_F(Resume, RefusesOtherWeightsBehindTheSamePath) {
  for (const std::string rank : {"0", "4"}) {
    const std::string run = "run" + rank;
    const std::string config =
        write_config({"train.iterations=1", "eval.every=0", "model.lora.rank=" + rank});
    ASSERT_EQ(pan({"train", "--config", config, "--run-dir", path(run)}).code, 0);
    fs::rename(model(), path("first_model"));
    make_tiny_model(model(), 9);
    const Words words = {"resume", path(run), "--set", "train.iterations=2"};
    expect_error(pan(words), 3,
                 {"not those that the run was started with", model(), "expected weights with crc32c",
                  rank == "0" ? "reference model" : "base under the adapters", "--allow-change"});
    Words allowed = words;
    allowed.push_back("--allow-change");
    EXPECT_EQ(pan(allowed).code, 0);
    EXPECT_EQ(pan({"resume", path(run), "--set", "train.iterations=3"}).code, 0) << "the change was recorded";
    fs::remove_all(model());
    fs::rename(path("first_model"), model());
  }
}

TEST_F(Resume, SaysWhatAnInterruptedWriterLeftAndThatTheMachineIsAnother) {
  ASSERT_EQ(train({}).code, 0);
  fs::create_directories(path("run/checkpoints/.tmp-step_000002/policy"));
  const Result r =
      pan({"resume", path("run"), "--set", "train.iterations=2", "--set", "threads=2", "--allow-change"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find(".tmp-step_000002 is an unfinished checkpoint: ignored and removed"),
            std::string::npos)
      << r.err;
  EXPECT_NE(r.err.find("not bit for bit as it would have there: threads: 1 -> 2"), std::string::npos)
      << r.err;
  EXPECT_FALSE(fs::exists(path("run/checkpoints/.tmp-step_000002")));
  const core::Json machine = json("run/checkpoints/latest/state.json")["machine"]["state"];
  EXPECT_EQ(machine["threads"], 2);
  EXPECT_NE(machine["program"].get<std::string>().find("pan-ppo"), std::string::npos);
}

TEST_F(Resume, DoublesNoLineOfTheLogAndKeepsItsErrors) {
  ASSERT_EQ(train({}).code, 0);
  write_text(path("run/log.txt"), read_text(path("run/log.txt")) +
                                      "2026-01-01T00:00:00+00:00 iteration 2/2 of a process that was killed\n"
                                      "2026-01-01T00:00:00+00:00 error: something went wrong\n");
  ASSERT_EQ(pan({"resume", path("run"), "--set", "train.iterations=2"}).code, 0);
  const std::string log = read_text(path("run/log.txt"));
  EXPECT_EQ(log.find("that was killed"), std::string::npos) << log;
  EXPECT_NE(log.find("error: something went wrong"), std::string::npos) << log;
  EXPECT_LT(log.find("something went wrong"), log.find("going on after iteration 1")) << log;
}

// A learning rate that spoils the weights with its first step: no figure is finite from then on.
TEST_F(Resume, GuardStopsWithACheckpointOrSaysWhatThereIs) {
  const std::string config = write_config({"train.iterations=4", "eval.every=0", "checkpoint.every=10",
                                           "critic.warmup_iterations=0", "optimizer.lr=1e30"});
  const Result r = pan({"train", "--config", config, "--run-dir", path("run")});
  EXPECT_EQ(r.code, 6) << r.err;
  const bool kept = fs::exists(path("run/checkpoints/latest"));
  expect_error(r, 6,
               {kept ? "holds the weights as they are" : "so they are not kept", "as there is no checkpoint",
                "pan-ppo resume " + path("run"), "--allow-change"});
  EXPECT_EQ(r.err.find("ppo.grad_clip"), std::string::npos);
}

}  // namespace
}  // namespace pan::testing
