#include "metrics/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "support/support.h"

namespace pan::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Catalog, EveryEntryIsCompleteAndUnique) {
  std::set<std::string> keys;
  for (const KeyInfo& info : catalog()) {
    EXPECT_TRUE(keys.insert(info.key).second) << info.key;
    EXPECT_FALSE(info.formula.empty()) << info.key;
    EXPECT_GT(info.doc.size(), 3u) << info.key;
    EXPECT_NE(info.key.find('/'), std::string::npos) << info.key;
    EXPECT_EQ(find_key(info.key), &info);
  }
}

// The names users of verl look for; written down here once more, from its documentation, not from the table.
TEST(Catalog, HoldsVerlsNames) {
  for (const char* key : {"critic/score/mean",
                          "critic/score/max",
                          "critic/score/min",
                          "critic/rewards/mean",
                          "actor/reward_kl_penalty",
                          "actor/reward_kl_penalty_coeff",
                          "actor/kl_loss",
                          "actor/kl_coef",
                          "actor/ppo_kl",
                          "actor/pg_clipfrac",
                          "actor/pg_clipfrac_lower",
                          "actor/pg_loss",
                          "critic/vf_loss",
                          "critic/vf_clipfrac",
                          "critic/vpred_mean",
                          "critic/values/mean",
                          "critic/vf_explained_var",
                          "critic/advantages/mean",
                          "critic/returns/max",
                          "actor/entropy",
                          "response_length/mean",
                          "response_length/clip_ratio",
                          "prompt_length/max",
                          "response/aborted_ratio",
                          "training/rollout_probs_diff_mean",
                          "training/rollout_probs_diff_max",
                          "training/rollout_probs_diff_std",
                          "training/rollout_actor_probs_pearson_corr",
                          "rollout_corr/kl",
                          "rollout_corr/k3_kl",
                          "actor/grad_norm",
                          "actor/lr",
                          "critic/grad_norm",
                          "critic/lr",
                          "timing_s/gen",
                          "timing_s/reward",
                          "timing_s/save_checkpoint",
                          "timing_s/adv",
                          "timing_s/update_critic",
                          "timing_s/update_actor",
                          "timing_s/step",
                          "timing_per_token_ms/gen",
                          "perf/throughput",
                          "perf/total_num_tokens",
                          "perf/time_per_step",
                          "perf/max_memory_allocated_gb",
                          "perf/cpu_memory_used_gb",
                          "val-core/gsm8k/acc/mean@1",
                          "val-core/gsm8k/acc/best@8/mean",
                          "val-core/gsm8k/acc/maj@8/mean",
                          "val-aux/gsm8k/format/mean@8",
                          "training/global_step",
                          "eval/pass@4",
                          "eval/score/format",
                          "eval/accuracy",
                          "eval/response_length/mean"}) {
    EXPECT_NE(find_key(key), nullptr) << key;
  }
}

TEST(Catalog, NamesOfTrlPointAtKeys) {
  std::set<std::string> names;
  for (const TrlName& name : trl_names()) {
    EXPECT_TRUE(names.insert(name.trl).second) << name.trl;
    EXPECT_NE(find_key(name.key), nullptr) << name.key;
  }
  EXPECT_TRUE(names.count("policy/approxkl_avg") && names.count("completions/mean_length"));
}

TEST(Catalog, PatternsMatchOnePartOfAPath) {
  ASSERT_NE(find_key("reward/format/mean"), nullptr);
  EXPECT_EQ(find_key("reward/format/mean")->key, "reward/{term}/mean");
  EXPECT_EQ(find_key("reward/total/mean")->key, "reward/total/mean");  // the exact name first
  for (const char* key : {"reward/a/b/mean", "reward//mean", "reward/format", "reward/format/mean/x",
                          "xreward/format/mean", "val-core/gsm8k/acc/mean@", "", "/", "reward/{term}"}) {
    EXPECT_EQ(find_key(key), nullptr) << key;
  }
}

TEST(Catalog, UnknownKeysAreListed) {
  EXPECT_THAT(unknown_keys({{"actor/lr", 1}, {"nonsense/b", 2}, {"nonsense/a", 2}}),
              ElementsAre("nonsense/a", "nonsense/b"));
}

TEST(Catalog, MarkdownHasARowForEachKey) {
  const std::string page = catalog_markdown();
  for (const KeyInfo& info : catalog())
    EXPECT_THAT(page, HasSubstr("| `" + info.key + "`" + (info.always ? " \\* |" : " |")));
  EXPECT_THAT(page, HasSubstr("\\|p_new / p_old - 1\\|"));  // bars inside a cell are escaped
}

// docs/metrics.md is this page. After a change: PAN_UPDATE_DOCS=1 metrics_tests --gtest_filter='Catalog.*'
TEST(Catalog, DocumentationPageIsCurrent) {
  const std::string path = testing::source_path("docs/metrics.md");
  const std::string page =
      "# Every key of metrics.jsonl and TensorBoard\n\n"
      "Names are verl's where verl has the quantity. `{x}` stands for one part of a name. A mean over tokens "
      "is taken\nover response tokens only, weighted by token and never by micro-batch; a figure without "
      "samples is left out, not 0.\nThose with a star are in every iteration that trained the policy (one of "
      "critic warm-up, or one that dynamic\nsampling left empty, does not), the others where method, task or "
      "device have them. TRL's names are at the end.\n\n" +
      catalog_markdown();
  if (std::getenv("PAN_UPDATE_DOCS") != nullptr) testing::write_text(path, page);
  EXPECT_EQ(testing::read_text(path), page);
}

}  // namespace
}  // namespace pan::metrics
