// Settings that mean nothing are refused before a model or data is opened.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_support.h"

namespace pan::config::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ConfigCheck, DefaultsAreGood) {
  EXPECT_EQ(refusal({}), "");
  EXPECT_TRUE(notes({}).empty());
}

TEST(ConfigCheck, LayersAreAWordOrAList) {
  EXPECT_THAT(refusal({"rhythm.layers=foo"}), AllOf(HasSubstr("/rhythm/layers"), HasSubstr("got \"foo\"")));
  EXPECT_THAT(refusal({"rhythm.layers=defualt"}), HasSubstr("Did you mean \"default\"?"));
  for (const char* wrong : {"[]", "[-1]", "[1, 1]", "[1.5]", "[\"a\"]", "3", "null", "{}"})
    EXPECT_THAT(refusal({std::string("rhythm.layers=") + wrong}), HasSubstr("/rhythm/layers")) << wrong;
  for (const char* good : {"all", "default", "[0, 3]"})
    EXPECT_EQ(refusal({std::string("rhythm.layers=") + good}), "") << good;
}

TEST(ConfigCheck, SizesOfPuzzlesCanBeRead) {
  EXPECT_THAT(refusal({R"(task.sizes=["9x9"])"}),
              AllOf(HasSubstr("not a puzzle size"), HasSubstr("/task/sizes/0"), HasSubstr("got \"9x9\"")));
  EXPECT_THAT(refusal({R"(task.curriculum=["0: 2x2", "5: 9x9"])"}), HasSubstr("/task/curriculum/1"));
  EXPECT_THAT(
      refusal(
          {R"(task={"name": "mix", "parts": [{"name": "gsm8k"}, {"name": "logic_grid", "sizes": ["9x9"]}]})"}),
      HasSubstr("/task/parts/1/sizes/0"));
}

TEST(ConfigCheck, ACustomPromptHasItsPlaces) {
  EXPECT_THAT(refusal({"prompt.template=custom", "prompt.custom=hello"}),
              AllOf(HasSubstr("must contain {prompt} once"), HasSubstr("/prompt/custom")));
  EXPECT_THAT(refusal({"prompt.template=custom", "prompt.custom={prompt}", "prompt.system=Be brief."}),
              HasSubstr("{system}"));
  EXPECT_EQ(refusal({"prompt.template=custom", "prompt.custom=Q: {prompt}"}), "");
  EXPECT_THAT(refusal({"prompt.template=llama3", "prompt.date="}), HasSubstr("/prompt/date"));
}

TEST(ConfigCheck, TheMetricOfCheckpointsIsOneOfAnEvaluation) {
  EXPECT_THAT(refusal({"eval.every=1", "checkpoint.metric=eval/acuracy"}),
              AllOf(HasSubstr("/checkpoint/metric"), HasSubstr("Did you mean \"eval/accuracy\"?")));
  EXPECT_THAT(refusal({"eval.every=1", "checkpoint.metric=accuracy"}),
              AllOf(HasSubstr("only an evaluation"), HasSubstr("Did you mean \"eval/accuracy\"?")));
  EXPECT_THAT(refusal({"eval.every=1", "checkpoint.metric=eval/pass@4"}), HasSubstr("/checkpoint/metric"));
  for (const char* good : {"eval/accuracy", "eval/no_answer_rate", "eval/accuracy/3x3", "eval/score/format"})
    EXPECT_EQ(refusal({"eval.every=1", std::string("checkpoint.metric=") + good}), "") << good;
  EXPECT_EQ(
      refusal({"eval.every=1", "eval.samples=4", "eval.temperature=1", "checkpoint.metric=eval/pass@4"}), "");
}

TEST(ConfigCheck, TemperaturesAreThoseThatSamplingTakes) {
  EXPECT_THAT(
      refusal({"rollout.temperature=1e-9"}),
      AllOf(HasSubstr("/rollout/temperature"), HasSubstr("expected >= 0.0001"), HasSubstr("got 1e-09")));
  EXPECT_THAT(refusal({"rollout.temperature=0"}), HasSubstr("expected > 0"));
  EXPECT_THAT(refusal({"eval.temperature=1e-9"}), HasSubstr("/eval/temperature"));
  EXPECT_EQ(refusal({"rollout.temperature=0.0001"}), "");
}

TEST(ConfigCheck, ThreadsAreAnOrdinaryNumber) {
  EXPECT_THAT(refusal({"threads=3000000000"}), AllOf(HasSubstr("/threads"), HasSubstr("[0, 1024]")));
}

TEST(ConfigCheck, BatchArithmeticNamesEveryStep) {
  const auto lines =
      batch_arithmetic(load({"train.iterations=10", "train.prompts_per_iteration=4",
                             "train.samples_per_prompt=2", "ppo.minibatch_size=4", "ppo.epochs=3"})
                           .config);
  EXPECT_THAT(
      lines,
      ::testing::ElementsAre(
          "4 prompts x 2 samples = 8 sequences per iteration",
          "8 sequences / minibatches of 4 = 2 minibatches x 3 epochs = 6 optimizer steps per iteration",
          "10 iterations = 80 sequences, 60 optimizer steps in all"));
}

}  // namespace
}  // namespace pan::config::testing
