// Longest response by iteration.
#include "train/length_curriculum_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/load.h"
#include "core/json.h"
#include "train/tiny_run_fixture.h"

namespace pan::train {
namespace {

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

using LengthCurriculumRun = pan::testing::TinyRun;

TEST_F(LengthCurriculumRun, BoundsTheResponsesAndResumes) {
  const auto growing = [&](const std::string& name, int iterations, bool resume) {
    run(name,
        {R"(train.length_curriculum=["0: 5", "2: 9"])", "eval.every=0",
         "train.iterations=" + std::to_string(iterations)},
        resume);
  };
  growing("whole", 4, false);
  growing("parts", 2, false);
  growing("parts", 4, true);
  EXPECT_EQ(file("whole", "rollouts.jsonl"), file("parts", "rollouts.jsonl"));
  std::vector<double> longest, limits;
  for (const core::Json& row : rows("whole", "iteration")) {
    longest.push_back(row["response_length/max"].get<double>());
    limits.push_back(row["response_length/limit"].get<double>());
  }
  EXPECT_EQ(limits, (std::vector<double>{5, 5, 9, 9}));
  // An untrained model hardly ever ends by itself.
  EXPECT_EQ(longest, limits);
}

}  // namespace
}  // namespace pan::train
