// Longest response by iteration.
#include "train/length_curriculum_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "config/load.h"
#include "core/json.h"
#include "core/log.h"
#include "support/support.h"
#include "train/tiny_run.h"
#include "train/trainer.h"

namespace pan::train {
namespace {

using pan::testing::read_text;
using pan::testing::tiny_config;
using ::testing::HasSubstr;

TEST(LengthCurriculum, StepsAtItsIterations) {
  const std::vector<std::string> stages = {"0: 8", "3:16", "10: 20"};
  const std::vector<std::pair<int64_t, int64_t>> expected = {{0, 8},  {2, 8},   {3, 16},
                                                             {9, 16}, {10, 20}, {1000, 20}};
  for (const auto& [iteration, limit] : expected) EXPECT_EQ(response_limit(stages, 32, iteration), limit);
  EXPECT_EQ(response_limit({}, 32, 5), 32);
}

TEST(LengthCurriculum, RefusesOtherTexts) {
  const testing::TempFolder folder;
  auto failure = [&](const std::string& list, const std::string& more = "seed=1") -> std::string {
    try {
      tiny_config(folder.path(), {"train.length_curriculum=" + list, more});
    } catch (const core::Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(failure(R"(["0: 8", "2: 48"])"), "");
  for (const char* text : {"", "8", "0:", "0: x", "0: 8x", "1: 8", "0: 0", "0: -1", "0: 49", "0 8", "-1: 8"})
    EXPECT_THAT(failure("[\"" + std::string(text) + "\"]"), HasSubstr("/train/length_curriculum/0")) << text;
  EXPECT_THAT(failure(R"(["0: 8", "0: 9"])"), HasSubstr("/train/length_curriculum/1"));
  EXPECT_THAT(failure(R"(["0: 48", "3: 8"])", "advantage.overlong_buffer_tokens=9"),
              HasSubstr("from iteration 3 on"));
}

TEST(LengthCurriculum, BoundsTheResponsesOfARunAndResumes) {
  core::set_log_level(core::LogLevel::kError);
  const testing::TempFolder folder;
  pan::testing::make_tiny_model(folder / "model", 5);
  auto run = [&](const std::string& name, int iterations, bool resume) {
    train({.config =
               tiny_config(folder / "model", {R"(train.length_curriculum=["0: 5", "2: 9"])", "eval.every=0",
                                              "train.iterations=" + std::to_string(iterations)}),
           .run_dir = folder / name,
           .resume = resume});
  };
  run("whole", 4, false);
  run("parts", 2, false);
  run("parts", 4, true);
  core::set_log_file("");
  core::set_log_level(core::LogLevel::kInfo);
  EXPECT_EQ(read_text((folder / "whole") + "/rollouts.jsonl"),
            read_text((folder / "parts") + "/rollouts.jsonl"));
  std::istringstream lines(read_text((folder / "whole") + "/metrics.jsonl"));
  std::vector<double> longest, limits;
  for (std::string line; std::getline(lines, line);) {
    const core::Json row = core::Json::parse(line);
    if (!row.contains("response_length/max")) continue;
    longest.push_back(row["response_length/max"].get<double>());
    limits.push_back(row["response_length/limit"].get<double>());
  }
  EXPECT_EQ(limits, (std::vector<double>{5, 5, 9, 9}));
  // An untrained model hardly ever ends by itself.
  EXPECT_EQ(longest, limits);
}

}  // namespace
}  // namespace pan::train
