// A configuration as an evaluation reads it.
#include "config/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_support.h"

namespace pan::config::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Loaded load_for_eval(const Words& overrides, core::Json tree = core::Json::object()) {
  return load_evaluation(std::move(tree), "the test", overrides, "");
}

std::string refusal_of_eval(const Words& overrides) {
  try {
    load_for_eval(overrides);
  } catch (const core::Error& error) {
    return error.kind() == core::ErrorKind::kConfig ? error.what() : "another kind of error";
  }
  return "";
}

TEST(Evaluation, LeavesAloneWhatOnlyTrainingNeeds) {
  EXPECT_NE(refusal({"ppo.minibatch_size=3"}), "");
  EXPECT_EQ(refusal_of_eval({"ppo.minibatch_size=3"}), "");
  EXPECT_NE(refusal({"rollout.temperature=0"}), "");
  EXPECT_EQ(refusal_of_eval({"rollout.temperature=0"}), "");
}

TEST(Evaluation, RefusesWhatTrainingRefusesToo) {
  for (const Words& set : {Words{"eval.samples=4"}, Words{"eval.temperature=1e-9"},
                           Words{"prompt.template=custom"}, Words{"task.name=gsm8k", "task.sizes=[\"2x2\"]"},
                           Words{R"(task={"name": "logic_grid", "sizes": ["2by2"]})"}}) {
    EXPECT_NE(refusal(set), "") << set.back();
    EXPECT_EQ(refusal_of_eval(set), refusal(set)) << set.back();
  }
}

TEST(Evaluation, NamesOverridesWithoutEffect) {
  EXPECT_THAT(load_for_eval({"train.iterations=3"}).notes,
              ElementsAre("/train/iterations: has no effect in an evaluation"));
  EXPECT_THAT(load_for_eval({"eval.every=3", "rhythm.lambda=0"}).notes.size(), 2u);
  EXPECT_THAT(load_for_eval({"eval.top_p=0.5"}).notes,
              ElementsAre(AllOf(StartsWith("/eval/top_p: has no effect"), HasSubstr("greedy"))));
  EXPECT_THAT(load_for_eval({"eval.max_new_tokens=5", "rollout.max_new_tokens=7"}).notes,
              ElementsAre(StartsWith("/rollout/max_new_tokens: has no effect")));
  EXPECT_THAT(load_for_eval({"task.few_shot_seed=4"}).notes,
              ElementsAre(StartsWith("/task/few_shot_seed: has no effect")));
}

TEST(Evaluation, IsSilentAboutSettingsThatWork) {
  EXPECT_THAT(load_for_eval({"eval.temperature=1", "eval.top_p=0.5", "eval.samples=2", "eval.num_problems=7",
                             "eval.slots=3", "rollout.max_new_tokens=7", "seed=4", "threads=1",
                             "model.dtype=bfloat16", "task.few_shot=2", "task.few_shot_seed=4"})
                  .notes,
              IsEmpty());
  // A run's file is full of settings that are its training's.
  EXPECT_THAT(load_for_eval({}, {{"train", {{"iterations", 3}}}, {"eval", {{"every", 3}}}}).notes, IsEmpty());
  EXPECT_THAT(
      load_for_eval({}, {{"rollout", {{"max_new_tokens", 7}}}, {"eval", {{"max_new_tokens", 9}}}}).notes,
      IsEmpty());
}

TEST(Evaluation, KnowsGroupsByTheirMembers) {
  for (const char* pointer : {"/eval", "/eval/top_p", "/task/sizes", "/model", "/rollout"})
    EXPECT_TRUE(matters_in_evaluation(pointer)) << pointer;
  for (const char* pointer : {"/eval/every", "/model/lora", "/rollout/temperature", "/train", "/evaluation"})
    EXPECT_FALSE(matters_in_evaluation(pointer)) << pointer;
}

}  // namespace
}  // namespace pan::config::testing
