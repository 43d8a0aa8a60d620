// reward.command in a run: what the program says is what is learned from and what is logged.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

using pan::testing::read_text;

// Pays a number that depends on the request line, and notes its starts and batches.
std::string program(const std::string& folder) {
  return "echo start >> " + folder + R"(/starts; while read -r line; do
    x=${line#*\"id\":}; id=${x%%,*}; r=${line#*\"response\":}; r=${r%%\",\"answer*}; n=$((${#r} - 1))
    echo "{\"id\":$id,\"reward\":$n,\"terms\":{\"length\":$n}}"
    case $line in *'"left":0}') echo batch >> )" +
         folder + "/batches;; esac; done";
}

class CommandRewardRun : public pan::testing::TinyRun {
 protected:
  void run(const std::string& name, std::vector<std::string> overrides, bool resume = false) {
    overrides.push_back("reward.timeout_s=10");
    overrides.push_back("reward.command=" + core::Json(program(folder_.path())).dump());
    TinyRun::run(name, overrides, resume);
  }
};

TEST_F(CommandRewardRun, PaysTrainingAndEvaluationAndResumes) {
  run("whole", {"train.iterations=2"});
  EXPECT_EQ(read_text(folder_ / "starts"), "start\n");
  // Two iterations, and an evaluation before the first and after the second.
  EXPECT_EQ(read_text(folder_ / "batches"), "batch\nbatch\nbatch\nbatch\n");
  int iterations = 0, evaluations = 0;
  for (const core::Json& row : rows("whole")) {
    if (row.contains("eval/score/command")) ++evaluations;
    if (!row.contains("reward/command/mean")) continue;
    ++iterations;
    const double mean = row["reward/command/mean"].get<double>();
    EXPECT_GT(mean, 0);
    EXPECT_EQ(row["critic/score/mean"].get<double>(), mean);  // what the loss sees
    EXPECT_EQ(row["reward/length/mean"].get<double>(), mean);
    EXPECT_TRUE(row.contains("reward/puzzle/mean"));
  }
  EXPECT_EQ(iterations, 2);
  EXPECT_EQ(evaluations, 2);
  run("parts", {"train.iterations=1"});
  run("parts", {"train.iterations=2"}, true);
  EXPECT_EQ(file("whole", "rollouts.jsonl"), file("parts", "rollouts.jsonl"));
}

}  // namespace
}  // namespace pan::train
