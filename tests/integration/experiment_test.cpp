// `pan-ppo experiment` from begin to end: what is shared, stopped, killed, gone on with, and what fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "config/load.h"
#include "core/json.h"
#include "integration/cli_support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;
using core::Json;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Two arms, two seeds, two iterations on the tiny model.
class ExperimentCommand : public Cli {
 protected:
  ExperimentCommand() {
    json_ = {{"name", "tiny"},
             {"base", config::resolved(tiny_config(model(), {"train.iterations=2", "eval.every=2"}))},
             {"arms", {{"plain", {{"rhythm.lambda", 0}}}, {"paid", {{"rhythm.lambda", 0.1}}}}},
             {"baseline", "plain"},
             {"seeds", {1, 2}},
             {"threads_per_run", 1}};
    json_["base"].erase("seed");
    json_["base"]["rhythm"]["guard_window"] = 0;
  }

  Words command(const std::string& output, const Words& more = {}) const {
    write_text(path("experiment.json"), json_.dump(1));
    Words words = {"experiment", "--config", path("experiment.json"), "--output", path(output)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string run_folder(const std::string& output, const std::string& arm, int seed) const {
    return path(output) + "/runs/" + arm + "/seed_" + std::to_string(seed);
  }

  // Everything that decides a result; report.json without the folder of this test's output.
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* arm : {"plain", "paid"})
      for (int seed : {1, 2}) {
        const std::string x = run_folder(a, arm, seed), y = run_folder(b, arm, seed);
        EXPECT_EQ(comparable_metrics(x), comparable_metrics(y)) << arm << seed;
        EXPECT_EQ(read_text(x + "/checkpoints/latest/policy/model.safetensors"),
                  read_text(y + "/checkpoints/latest/policy/model.safetensors"));
        EXPECT_EQ(read_text(x + "/eval/step_000002/samples.jsonl"),
                  read_text(y + "/eval/step_000002/samples.jsonl"));
      }
    EXPECT_EQ(report(a), report(b));
  }

  Json report(const std::string& output) const {
    return Json::parse(read_text(path(output) + "/report.json"));
  }

  // When each file below the output that a run writes was written.
  std::map<std::string, fs::file_time_type> written(const std::string& output) const {
    std::map<std::string, fs::file_time_type> times;
    for (const char* part : {"/runs", "/evaluations", "/logs"})
      for (const auto& file : fs::recursive_directory_iterator(path(output) + part))
        if (file.is_regular_file() && file.path().filename() != ".lock")
          times[file.path().string()] = file.last_write_time();
    return times;
  }

  Json json_;
};

TEST_F(ExperimentCommand, RunsSharesTheStartAndNeverRepeats) {
  const Result dry = pan(command("out", {"--dry-run"}));
  ASSERT_EQ(dry.code, 0) << dry.err;
  EXPECT_THAT(dry.out, AllOf(HasSubstr("2 arms x 2 seeds = 4, 0 finished; 1 evaluations of the start model"),
                             HasSubstr("no difference can be called significant")));
  EXPECT_FALSE(fs::exists(path("out")));
  const Result r = pan(command("out"));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_THAT(r.out, AllOf(HasSubstr("No claim about paid and plain"), HasSubstr("4 of 4 finished")));
  // One evaluation of the start model for all four runs, none of their own.
  int evaluations = 0;
  for (const auto& entry : fs::directory_iterator(path("out/evaluations")))
    evaluations += entry.is_directory();
  EXPECT_EQ(evaluations, 1);
  EXPECT_FALSE(fs::exists(run_folder("out", "plain", 1) + "/eval/step_000000"));
  const Json found = report("out");
  EXPECT_EQ(found["provisional"], false);
  EXPECT_EQ(found["comparisons"][0]["mcnemar"].size(), 2u);
  EXPECT_EQ(found["programs_of_runs"].begin().value(), 4);
  EXPECT_TRUE(found["guards"]["paid"]["terms"].contains("rhythm/entropy_term"));
  EXPECT_THAT(read_text(path("out/report.md")), HasSubstr("curve_eval_accuracy.svg"));
  // All arms have seen the same prompts in the same order.
  const auto prompts = [&](const std::string& arm, int seed) {
    std::vector<std::string> ids;
    std::istringstream lines(read_text(run_folder("out", arm, seed) + "/rollouts.jsonl"));
    for (std::string line; std::getline(lines, line);) ids.push_back(Json::parse(line)["id"]);
    return ids;
  };
  EXPECT_EQ(prompts("plain", 1), prompts("paid", 1));
  EXPECT_EQ(prompts("plain", 1).size(), 16u);
  // Again: nothing is begun.
  const auto before = written("out");
  const Result again = pan(command("out"));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.err, Not(HasSubstr("run 1 of")));
  EXPECT_EQ(written("out"), before);
  EXPECT_EQ(report("out"), found);
  EXPECT_THAT(pan(command("out", {"--dry-run"})).out, HasSubstr("4 finished"));
  // A figure that was foretold without running anything is there.
  EXPECT_EQ(pan(command("out", {"--report-only", "--set", "metric=eval/score/puzzle"})).code, 0);
}

TEST_F(ExperimentCommand, StoppedOrKilledItGoesOnToTheSameResult) {
  ASSERT_EQ(pan(command("whole")).code, 0);
  {
    Running run(command("stopped"), path("out.txt"), path("err.txt"));
    ASSERT_TRUE(run.says("run 2 of 4")) << read_text(path("err.txt"));
    run.signal(SIGINT);
    const Result stopped = run.wait();
    expect_error(stopped, 130, {"the experiment was stopped", "of 4 finished", "The same command goes on"});
    EXPECT_THAT(stopped.out, AnyOf(HasSubstr("Provisional"), HasSubstr("Nothing can be said")));
    EXPECT_EQ(report("stopped")["provisional"], true);
    const std::string first = run_folder("stopped", "plain", 1) + "/rollouts.jsonl";
    const auto finished = fs::last_write_time(first);
    const Result r = pan(command("stopped", {"--set", "parallel=3"}));  // which changes nothing
    ASSERT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(fs::last_write_time(first), finished) << "a finished run was run again";
    expect_same("whole", "stopped");
  }
  Running run(command("killed"), path("out.txt"), path("err.txt"));
  ASSERT_TRUE(run.says("run 2 of 4")) << read_text(path("err.txt"));
  const std::string begun = run_folder("killed", "paid", 1) + "/config.json";
  for (int i = 0; i < 5000 && !fs::exists(begun); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  run.signal(SIGKILL);
  run.wait();
  const Result r = pan(command("killed"));
  ASSERT_EQ(r.code, 0) << r.err;
  expect_same("whole", "killed");
}

TEST_F(ExperimentCommand, ReportsARunThatFails) {
  // Its learning rate makes the next loss non-finite: the run's own guard stops it.
  json_["arms"]["paid"] = {{"optimizer.lr", 1e30}, {"train.max_bad_steps", 1}};
  const Result r = pan(command("out"));
  EXPECT_EQ(r.code, 6) << r.err;
  EXPECT_THAT(r.err,
              AllOf(HasSubstr("failed: paid, seed 1: exit status 6"), HasSubstr("logs/paid_seed_1.txt"),
                    HasSubstr("missing from the report: paid, seed 2")));
  EXPECT_THAT(r.out, HasSubstr("2 of 4 finished"));
  const Json found = report("out");
  EXPECT_EQ(found["provisional"], true);
  EXPECT_EQ(found["arms"]["paid"]["missing_seeds"].size(), 2u);
  EXPECT_EQ(found["arms"]["plain"]["by_seed"].size(), 2u);
}

TEST_F(ExperimentCommand, StopsAtOnceWithOneErrorWhereNothingCouldRun) {
  for (const Words& more : {Words{}, Words{"--dry-run"}}) {
    Words words = {"--set", "set.model.path=" + path("nowhere")};
    words.insert(words.end(), more.begin(), more.end());
    expect_error(pan(command("out", words)), 3, {"no such model folder", path("nowhere")});
    words[1] = "metric=eval/score/puzle";
    expect_error(pan(command("out", words)), 2,
                 {"no such figure", "/metric", "Did you mean eval/score/puzzle?"});
    words[1] = R"(curves=["reward/cel/mean"])";
    expect_error(pan(command("out", words)), 2, {"no such figure", "/curves/0", "reward/cell/mean"});
    EXPECT_FALSE(fs::exists(path("out/runs"))) << "something was begun";
  }
}

TEST_F(ExperimentCommand, NamesAnOutputThatCannotBeWritten) {
  for (const Words& more : {Words{}, Words{"--dry-run"}}) {
    Words words = command("out", more);
    words[4] = "/proc/self/no";
    expect_error(pan(words), 4, {"nothing can be written here", words[4], "Choose another --output"});
  }
}

// Where a model or data are not part of the repository, those of the tests stand in.
TEST_F(ExperimentCommand, ShippedConfigurationsAreGood) {
  fs::create_directories(path("gsm8k"));
  const std::string row = R"({"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"})";
  for (const char* file : {"gsm8k/train.jsonl", "gsm8k/test.jsonl"})
    write_text(path(file), row + "\n" + row + "\n");
  int files = 0;
  for (const auto& entry : fs::directory_iterator(source_path("configs/experiments"))) {
    const std::string file = entry.path().string();
    Words words = {"experiment", "--config", file, "--output", path("out"), "--dry-run"};
    if (file.find("gsm8k") != std::string::npos)
      words.insert(words.end(), {"--set", "set.model.path=" + model(), "--set",
                                 "set.task.path=" + path("gsm8k"), "--set", "set.train.max_prompt_tokens=256",
                                 "--set", "set.rollout.max_new_tokens=128", "--set", "set.model.device=cpu"});
    const Result r = pan_behind("cd '" + source_path("") + "' && ", words);
    EXPECT_EQ(r.code, 0) << file << r.err;
    EXPECT_THAT(r.out, HasSubstr(" 0 finished")) << file;
    EXPECT_THAT(r.err, Not(HasSubstr("warning: a"))) << file;  // "arm ...", "all arms ..."
    EXPECT_THAT(r.out, Not(HasSubstr("no difference can be called significant"))) << file;
    ++files;
  }
  EXPECT_GE(files, 4);
}

}  // namespace
}  // namespace pan::testing
