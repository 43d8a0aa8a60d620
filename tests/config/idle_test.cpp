// A setting without effect is said to be so, once it differs from its default.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_support.h"

namespace pan::config::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

struct Case {
  Words set;            // the last one is idle
  std::string pointer;  // of it
  Words cure;           // what gives it an effect
};

TEST(IdleSettings, EachIsNamedAndNoneWhereItWorks) {
  const std::vector<Case> cases = {
      {{"rhythm.step_q=0.3"}, "/rhythm/step_q", {"rhythm.steps=waad"}},
      {{"rhythm.k=5"}, "/rhythm/k", {"rhythm.credit=coupled"}},
      {{"rhythm.credit=entropy", "rhythm.alpha=0.1"}, "/rhythm/alpha", {"rhythm.credit=coupled"}},
      {{"rhythm.gamma_amp=2"}, "/rhythm/gamma_amp", {"rhythm.credit=entropy"}},
      {{"rhythm.lambda=0", "rhythm.w_pre=0.3"}, "/rhythm/w_pre", {"rhythm.lambda=0.2"}},
      {{"rhythm.enabled=false", "rhythm.num_sink=2"}, "/rhythm/num_sink", {"rhythm.enabled=true"}},
      {{"kl.coefficient=0", "kl.in=reward"}, "/kl/in", {"kl.coefficient=0.1"}},
      {{"kl.in=none", "kl.coefficient=0.1"}, "/kl/coefficient", {"kl.in=reward"}},
      {{"eval.num_problems=7"}, "/eval/num_problems", {"eval.every=1"}},
      {{"eval.every=1", "eval.top_p=0.9"}, "/eval/top_p", {"eval.temperature=1"}},
      {{"checkpoint.keep_best=3"}, "/checkpoint/keep_best", {"eval.every=1"}},
      {{"train.early_stop_evals=3"}, "/train/early_stop_evals", {"eval.every=1"}},
      {{"reward.timeout_s=5"}, "/reward/timeout_s", {R"(reward.command=["true"])"}},
      {{"reward.task_weight=1"}, "/reward/task_weight", {R"(reward.command=["true"])"}},
      {{"train.dynamic_sampling.max_refills=9"},
       "/train/dynamic_sampling/max_refills",
       {"train.dynamic_sampling.enabled=true"}},
      {{"task.few_shot_seed=4"}, "/task/few_shot_seed", {"task.few_shot=2"}},
      {{R"(task={"name": "gsm8k", "few_shot_seed": 4})"}, "/task/few_shot_seed", {"task.few_shot=2"}},
      {{"prompt.template=chatml", "prompt.date=today"}, "/prompt/date", {"prompt.template=llama3"}},
      {{"model.lora.alpha=8"}, "/model/lora/alpha", {"model.lora.rank=4"}},
      {{"advantage.estimator=grpo", "critic_optimizer.lr=1"},
       "/critic_optimizer/lr",
       {"advantage.estimator=gae"}},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(notes(c.set), ElementsAre(StartsWith(c.pointer + ": has no effect"))) << c.pointer;
    Words cured = c.set;
    cured.insert(cured.end(), c.cure.begin(), c.cure.end());
    EXPECT_THAT(notes(cured), ::testing::Each(::testing::Not(StartsWith(c.pointer + ":")))) << c.pointer;
  }
}

TEST(IdleSettings, DefaultsAreNotMentioned) {
  for (const char* set :
       {"rhythm.enabled=false", "rhythm.lambda=0", "kl.coefficient=0", "kl.in=none", "eval.every=0",
        "train.dynamic_sampling.enabled=false", "task.few_shot=0", "prompt.template=plain"})
    EXPECT_THAT(notes({set}), IsEmpty()) << set;
}

TEST(IdleSettings, CuttingTheDistributionIsABiasNotIdle) {
  for (const char* set : {"rollout.top_p=0.9", "rollout.top_k=5"})
    EXPECT_THAT(notes({set}), ElementsAre(HasSubstr("the gradient is biased"))) << set;
}

}  // namespace
}  // namespace pan::config::testing
