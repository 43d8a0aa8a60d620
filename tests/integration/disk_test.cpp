// A disk that is full and checkpoints that are not the run's: nothing is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "integration/cli_support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

using Disk = Cli;

TEST_F(Disk, FullWhileWritingACheckpointKeepsThePreviousOne) {
  const std::string config = write_config({"train.iterations=2", "eval.every=0"});
  ASSERT_EQ(pan({"train", "--config", config, "--run-dir", path("whole")}).code, 0);
  ASSERT_EQ(pan({"train", "--config", config, "--run-dir", path("run"), "--set", "train.iterations=1"}).code,
            0);
  const std::string weights = read_text(path("run/checkpoints/step_000001/policy/model.safetensors"));

  // No file may grow beyond the limit; with the signal ignored, writing fails as on a full disk.
  const auto largest = fs::file_size(path("run/checkpoints/latest/policy_optimizer.safetensors"));
  const std::string limit = "trap '' XFSZ; ulimit -f " + std::to_string((largest - 1) / 512) + "; exec ";
  const Result r = pan_behind(limit, {"resume", path("run"), "--set", "train.iterations=2"});
  expect_error(r, 4,
               {"policy_optimizer.safetensors", "expected room for a checkpoint", "got File too large",
                "checkpoint of iteration 1 is untouched", "pan-ppo resume " + path("run")});

  EXPECT_EQ(fs::canonical(path("run/checkpoints/latest")).filename(), "step_000001");
  EXPECT_EQ(read_text(path("run/checkpoints/step_000001/policy/model.safetensors")), weights);
  ASSERT_EQ(pan({"resume", path("run"), "--set", "train.iterations=2"}).code, 0);
  EXPECT_EQ(comparable_metrics(path("run")), comparable_metrics(path("whole")));
  EXPECT_EQ(read_text(path("run/checkpoints/latest/policy/model.safetensors")),
            read_text(path("whole/checkpoints/latest/policy/model.safetensors")));
}

TEST_F(Disk, FullWhileWritingTheLogIsOneError) {
  ASSERT_EQ(train({}).code, 0);
  fs::remove(path("run/log.txt"));
  fs::create_symlink("/dev/full", path("run/log.txt"));
  const Result r = pan({"resume", path("run"), "--set", "train.iterations=2"});
  expect_error(r, 4,
               {"writing failed", path("run/log.txt"), "expected free space", "got No space left",
                "checkpoint of iteration 1 is untouched", "pan-ppo resume " + path("run")});
}

TEST_F(Disk, FullWhileWritingAnEvaluation) {
  ASSERT_EQ(train({}).code, 0);
  fs::create_directories(path("run/eval/step_000002"));
  fs::create_symlink("/dev/full", path("run/eval/step_000002/results.json.tmp"));
  const Result r =
      pan({"resume", path("run"), "--set", "train.iterations=2", "--set", "eval.every=2", "--allow-change"});
  expect_error(r, 4,
               {"results.json", "expected free space", "got No space left",
                "checkpoint of iteration 1 is untouched", "pan-ppo resume " + path("run")});
}

TEST_F(Disk, FullWhileWritingMetricsOrRollouts) {
  ASSERT_EQ(train({}).code, 0);
  fs::remove_all(path("run/checkpoints"));
  fs::create_directories(path("run/checkpoints"));
  const auto size = [&](const std::string& name) { return fs::file_size(path("run/" + name)); };
  uintmax_t events = 0;
  for (const auto& entry : fs::directory_iterator(path("run/tensorboard"))) events += entry.file_size();
  const uintmax_t others = std::max({size("metrics.jsonl"), events, size("log.txt") + 512});
  ASSERT_GT(size("rollouts.jsonl"), others + 512) << "the limit would not hit it first";
  const auto resume = [&](uintmax_t blocks) {
    return pan_behind("trap '' XFSZ; ulimit -f " + std::to_string(blocks) + "; exec ",
                      {"resume", path("run")});
  };
  const auto expect_full = [&](const Result& r, const std::string& file) {
    expect_error(r, 4,
                 {file, "expected free space", "got File too large", "there is no checkpoint yet",
                  "pan-ppo resume " + path("run")});
  };
  expect_full(resume(others / 512 + 1), "rollouts.jsonl");
  fs::remove(path("run/log.txt"));
  ASSERT_GT(size("metrics.jsonl"), 2048u);
  expect_full(resume(4), "metrics.jsonl");
}

TEST_F(Disk, CheckpointOfAnotherModelIsRefused) {
  ASSERT_EQ(train({}).code, 0);
  const std::string metrics = read_text(path("run/metrics.jsonl"));
  // Another architecture under the same path, and a sound checkpoint of it in this run's folder.
  fs::rename(model(), path("first_model"));
  make_tiny_model(model(), 9, 2);
  ASSERT_EQ(
      pan({"train", "--config", write_config(), "--run-dir", path("other"), "--set", "train.iterations=2"})
          .code,
      0);
  fs::remove_all(model());
  fs::rename(path("first_model"), model());
  fs::copy(path("other/checkpoints/step_000002"), path("run/checkpoints/step_000002"),
           fs::copy_options::recursive);
  const Result r = pan({"resume", path("run"), "--set", "train.iterations=3"});
  expect_error(r, 3,
               {"of another model", path("run/checkpoints/step_000002"), "expected llama with 3 layers",
                "got llama with 2 layers", "model.path"});
  EXPECT_EQ(read_text(path("run/metrics.jsonl")), metrics);
  EXPECT_TRUE(fs::exists(path("run/checkpoints/step_000001/manifest.json")));
  fs::remove_all(path("run/checkpoints/step_000002"));
  EXPECT_EQ(pan({"resume", path("run"), "--set", "train.iterations=2"}).code, 0);
}

}  // namespace
}  // namespace pan::testing
