// The notes of the configuration check: settings that are read and then do nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "config/load.h"

namespace pan::config {
namespace {

std::vector<std::string> notes_of(const std::vector<std::string>& overrides) {
  return load_run_json(core::Json::object(), "the test", overrides).notes;
}

TEST(Notes, CreditWithoutRhythmHasNoEffect) {
  EXPECT_THAT(notes_of({}), ::testing::IsEmpty());
  EXPECT_THAT(notes_of({"rhythm.credit=coupled"}), ::testing::IsEmpty());
  EXPECT_THAT(notes_of({"rhythm.credit=coupled", "rhythm.lambda=0"}), ::testing::IsEmpty());
  EXPECT_THAT(notes_of({"rhythm.enabled=false"}), ::testing::IsEmpty());
  for (const char* credit : {"random", "entropy", "local_chunk", "global_anchor", "coupled"})
    EXPECT_THAT(notes_of({std::string("rhythm.credit=") + credit, "rhythm.enabled=false"}),
                ::testing::ElementsAre(::testing::HasSubstr("/rhythm/credit: has no effect")));
}

TEST(Notes, MethodsBringTheirOwnAggregation) {
  const std::vector<std::string> gspo = {"ppo.policy_loss=gspo", "ppo.clip_low=3e-4", "ppo.clip_high=4e-4"};
  EXPECT_THAT(notes_of(gspo), ::testing::IsEmpty());
  EXPECT_THAT(notes_of({"ppo.policy_loss=gspo"}),
              ::testing::Contains(::testing::HasSubstr("/ppo/clip_low: gspo")));
  EXPECT_THAT(notes_of({"advantage.estimator=dr_grpo"}), ::testing::IsEmpty());
}

}  // namespace
}  // namespace pan::config
