// What a run is said to take, in memory and on the disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "metrics/tensorboard.h"
#include "support/fault_disk.h"
#include "train/dry_run.h"
#include "train/memory_plan.h"
#include "train/process.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

namespace fs = std::filesystem;
using pan::testing::FaultDisk;
using pan::testing::tiny_config;

class PlanTest : public pan::testing::TinyRun {
 protected:
  config::RunConfig config(const std::vector<std::string>& more = {}) { return tiny_config(model_, more); }
  config::RunConfig with_critic(int64_t num_layers, const std::vector<std::string>& more = {}) {
    const std::string critic = folder_ / ("critic" + std::to_string(num_layers));
    if (!fs::exists(critic)) pan::testing::make_tiny_model(critic, 6, num_layers);
    std::vector<std::string> all = more;
    all.push_back("critic.path=" + critic);
    return config(all);
  }
  static int64_t part(const MemoryPlan& plan, const std::string& name) {
    for (const auto& [key, bytes] : plan.resident)
      if (key.find(name) != std::string::npos) return bytes;
    ADD_FAILURE() << "nothing called " << name;
    return -1;
  }
  static MemoryPlan memory(const config::RunConfig& c) { return plan_memory(c, read_sizes(c)); }
  static DiskPlan disk(const config::RunConfig& c) { return plan_disk(c, read_sizes(c)); }
  static int64_t update(const MemoryPlan& plan) {
    for (const auto& [key, bytes] : plan.phases)
      if (key.starts_with("update")) return bytes;
    return -1;
  }
  // The message of the disk error that `run` ends with.
  std::string refusal(const std::string& run_dir, bool resume) {
    try {
      train({.config = config({"train.iterations=2"}), .run_dir = run_dir, .resume = resume});
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kIo);
      return error.what();
    }
    return "";
  }
};

TEST_F(PlanTest, ACriticOfItsOwnFolderCountsByItsOwnSize) {
  const int64_t policy = read_sizes(config()).policy.num_parameters();
  for (const int64_t num_layers : {1, 9}) {
    const config::RunConfig c = with_critic(num_layers);
    const int64_t critic = read_sizes(c).critic->num_parameters();
    ASSERT_NE(critic, policy);
    EXPECT_EQ(part(memory(c), "policy (weights"), 12 * policy);
    EXPECT_EQ(part(memory(c), "critic (weights"), 12 * critic);
    EXPECT_EQ(disk(c).checkpoint_bytes, 12 * policy + 12 * critic);
    const config::RunConfig half = with_critic(num_layers, {"model.dtype=bfloat16"});
    EXPECT_EQ(part(memory(half), "critic (weights"), 14 * critic);
    EXPECT_EQ(disk(half).checkpoint_bytes, 14 * policy + 14 * critic);
    const config::RunConfig lora = with_critic(num_layers, {"model.lora.rank=4"});
    EXPECT_EQ(part(memory(lora), "weights of policy, reference and critic"), 4 * (policy + critic));
  }
  EXPECT_EQ(part(memory(config()), "critic (weights"), 12 * policy);
  EXPECT_EQ(part(memory(config({"model.lora.rank=4"})), "weights of policy, reference and critic"),
            4 * policy);
  // The larger of the two models is what an update has to hold.
  EXPECT_GT(update(memory(with_critic(9))), 2 * update(memory(config())));
  EXPECT_EQ(update(memory(with_critic(1))), update(memory(config())));
}

TEST_F(PlanTest, WithoutASeparateCriticNoneIsCounted) {
  const int64_t policy = read_sizes(config()).policy.num_parameters();
  for (const char* set : {"critic.mode=shared", "advantage.estimator=grpo"}) {
    const config::RunConfig c = config({set});
    EXPECT_FALSE(read_sizes(c).critic) << set;
    EXPECT_EQ(disk(c).checkpoint_bytes, 12 * policy) << set;
  }
}

TEST_F(PlanTest, ACheckpointTakesWhatIsPlanned) {
  for (const char* type : {"float32", "bfloat16"}) {
    const config::RunConfig c =
        with_critic(9, {std::string("model.dtype=") + type, "train.iterations=1", "eval.every=0"});
    const std::string run_dir = folder_ / type;
    train({.config = c, .run_dir = run_dir});
    double bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(run_dir + "/checkpoints/step_000001"))
      if (entry.is_regular_file()) bytes += static_cast<double>(entry.file_size());
    const auto planned = static_cast<double>(disk(c).checkpoint_bytes);
    EXPECT_NEAR(bytes / planned, 1, 0.15) << type << ": " << bytes << " bytes, planned " << planned;
  }
}

TEST_F(PlanTest, IsHeldAgainstTheMemoryThatTheTensorsLiveIn) {
  const MemoryPlan plan = memory(config());
  check_memory(plan, {.of = "cuda:0", .bytes = plan.peak()});
  try {
    check_memory(plan, {.of = "cuda:0", .bytes = plan.peak() - 1});
    FAIL() << "a plan of a byte too many was taken";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kDevice);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("cuda:0"));
  }
  EXPECT_EQ(memory_of(at::kCPU).bytes, static_cast<int64_t>(core::total_memory_bytes()));
}

TEST_F(PlanTest, StartAndResumeAreRefusedWhereTheCheckpointsDoNotFit) {
  const std::string run_dir = folder_ / "run";
  const DiskPlan plan = disk(config());
  const int64_t needed = plan.checkpoint_bytes * plan.num_checkpoints;
  FaultDisk disk;
  disk.report_free(static_cast<uint64_t>(needed - 1));
  EXPECT_THAT(refusal(run_dir, false), ::testing::HasSubstr("do not fit on the disk"));
  EXPECT_FALSE(fs::exists(run_dir));
  disk.report_free(static_cast<uint64_t>(needed));
  train({.config = config({"train.iterations=1"}), .run_dir = run_dir});
  core::set_log_file("");

  const std::string weights = run_dir + "/checkpoints/step_000001/policy/model.safetensors";
  const std::string before = pan::testing::read_text(weights);
  const std::string metrics = pan::testing::read_text(run_dir + "/metrics.jsonl");
  // The checkpoint that is there is one of those that the plan counts.
  disk.report_free(static_cast<uint64_t>(needed - 2 * plan.checkpoint_bytes));
  EXPECT_THAT(refusal(run_dir, true), ::testing::HasSubstr("do not fit on the disk"));
  core::set_log_file("");
  EXPECT_EQ(pan::testing::read_text(weights), before);
  EXPECT_EQ(pan::testing::read_text(run_dir + "/metrics.jsonl"), metrics);
  disk.report_free(static_cast<uint64_t>(needed - plan.checkpoint_bytes));
  EXPECT_EQ(refusal(run_dir, true), "");
}

TEST_F(PlanTest, AFullDiskUnderTheEventFileEndsTheRunAtItsCheckpoint) {
  const std::string whole = folder_ / "whole", run_dir = folder_ / "run";
  const config::RunConfig one = config({"train.iterations=1", "eval.every=0"}),
                          two = config({"train.iterations=2", "eval.every=0"});
  train({.config = two, .run_dir = whole});
  train({.config = one, .run_dir = run_dir});
  const std::string events = metrics::EventWriter::path_in(run_dir + "/tensorboard");
  const std::string before = pan::testing::read_text(events);
  {
    FaultDisk disk;
    disk.fill_under("tfevents");
    try {
      train({.config = two, .run_dir = run_dir, .resume = true});
      ADD_FAILURE() << "the run did not notice";
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kIo);
      for (const std::string& part :
           {events, std::string("expected room for what the run writes"),
            std::string("checkpoint of iteration 1 is untouched"), "pan-ppo resume " + run_dir})
        EXPECT_THAT(error.what(), ::testing::HasSubstr(part));
    }
  }
  core::set_log_file("");
  EXPECT_EQ(pan::testing::read_text(events), before) << "half a record was left behind";
  train({.config = two, .run_dir = run_dir, .resume = true});
  EXPECT_EQ(pan::testing::comparable_metrics(run_dir), pan::testing::comparable_metrics(whole));
}

}  // namespace
}  // namespace pan::train
