#include "rl/plan.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "reference.h"
#include "rl/loss.h"

namespace pan::rl {
namespace {

std::vector<TrainSequence> sequences_of_lengths(const std::vector<int64_t>& lengths) {
  std::vector<TrainSequence> out;
  for (int64_t n : lengths)
    out.push_back({.id = static_cast<int64_t>(out.size()),
                   .group = 0,
                   .tokens = std::vector<int64_t>(static_cast<size_t>(n), 1),
                   .prompt_length = 1,
                   .truncated = false,
                   .sampler_logprobs = {}});
  return out;
}

TEST(Plan, FillsMicroBatchesUpToTheTokenBudget) {
  const auto s = sequences_of_lengths({4, 3, 3, 11, 2, 8, 1});
  EXPECT_EQ(cut_micro_batches(s, {0, 1, 2, 3, 4, 5, 6}, 10), (Minibatch{{0, 1, 2}, {3}, {4, 5}, {6}}));
  EXPECT_EQ(cut_micro_batches(s, {6, 5, 4}, 1), (Minibatch{{6}, {5}, {4}}));
}

TEST(Plan, EveryEpochHoldsEverySequenceOnceInItsOwnOrder) {
  const auto s = sequences_of_lengths({5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  PpoConfig ppo;
  ppo.epochs = 3;
  ppo.minibatch_size = 4;
  ppo.micro_batch_tokens = 25;
  const UpdatePlan plan = plan_update(s, ppo, 7, 2);
  ASSERT_EQ(plan.epochs.size(), 3u);
  EXPECT_EQ(plan.num_steps(), 9);
  std::set<std::vector<int64_t>> orders;
  for (const EpochPlan& epoch : plan.epochs) {
    std::vector<int64_t> order;
    for (const Minibatch& m : epoch) {
      size_t size = 0;
      for (const MicroBatch& micro : m) {
        order.insert(order.end(), micro.begin(), micro.end());
        size += micro.size();
      }
      EXPECT_EQ(size, 4u);
    }
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
  EXPECT_EQ(orders.size(), 3u);
  EXPECT_EQ(plan.epochs, plan_update(s, ppo, 7, 2).epochs);
  EXPECT_NE(plan.epochs, plan_update(s, ppo, 7, 3).epochs);
  EXPECT_NE(plan.epochs, plan_update(s, ppo, 8, 2).epochs);
  std::vector<MicroBatch> first;
  for (const Minibatch& m : plan.epochs[0]) first.insert(first.end(), m.begin(), m.end());
  EXPECT_EQ(plan.scoring(), first);
}

TEST(RlConfig, RefusesSizesAndPairsWithTheArithmetic) {
  const auto refuses = [](RlConfig c, RlFacts facts, const std::string& pointer, const std::string& words) {
    try {
      check(c, facts);
      ADD_FAILURE() << "accepted: " << pointer;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::kConfig);
      EXPECT_EQ(e.pointer_text(), pointer);
      EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    }
  };
  const RlFacts facts{.sequences_per_iteration = 128, .samples_per_prompt = 4, .max_response_tokens = 256};
  EXPECT_TRUE(check({}, facts).empty());
  RlConfig c;
  c.ppo.minibatch_size = 48;
  refuses(c, facts, "/ppo/minibatch_size", "32 prompts x 4 samples");
  c = {};
  c.advantage.estimator = Estimator::kGrpo;
  refuses(c, {.sequences_per_iteration = 128, .samples_per_prompt = 1, .max_response_tokens = 256},
          "/advantage/estimator", "samples_per_prompt >= 2");
  c = {};
  c.kl.in = KlPlace::kLoss;
  c.kl.estimator = KlEstimator::kK1;
  refuses(c, facts, "/kl/estimator", "k3");
  c = {};
  c.ppo.policy_loss = PolicyLoss::kGspo;
  c.ppo.aggregation = Aggregation::kTokenMean;
  refuses(c, facts, "/ppo/aggregation", "seq-mean-token-mean");
}

TEST(RlConfig, NamesSettingsWithoutEffectAndResolvesAuto) {
  const RlFacts facts{.sequences_per_iteration = 128, .samples_per_prompt = 4, .max_response_tokens = 256};
  RlConfig c;
  EXPECT_EQ(kl_place(c), KlPlace::kReward);
  EXPECT_EQ(kl_estimator(c), KlEstimator::kK1);
  EXPECT_TRUE(needs_critic(c));
  c.advantage.estimator = Estimator::kRloo;
  c.critic.warmup_iterations = 3;
  EXPECT_EQ(kl_place(c), KlPlace::kLoss);
  EXPECT_EQ(kl_estimator(c), KlEstimator::kK3);
  EXPECT_FALSE(needs_critic(c));
  EXPECT_EQ(check(c, facts),
            std::vector<std::string>{"/critic/warmup_iterations: has no effect: there is no critic"});
  EXPECT_TRUE(needs_reference(c));
  c.kl.coefficient = 0;
  EXPECT_FALSE(needs_reference(c));
}

TEST(RlConfig, AutoAggregationIsThatOfTheMethod) {
  RlConfig c;
  for (const Estimator e : {Estimator::kGae, Estimator::kGrpo, Estimator::kRloo,
                            Estimator::kReinforcePlusPlus, Estimator::kReinforcePlusPlusBaseline}) {
    c.advantage.estimator = e;
    EXPECT_EQ(token_aggregation(c), Aggregation::kTokenMean);
  }
  c.advantage.estimator = Estimator::kDrGrpo;
  EXPECT_EQ(token_aggregation(c), Aggregation::kSeqMeanTokenSumNorm);
  c.ppo.policy_loss = PolicyLoss::kGspo;
  EXPECT_EQ(token_aggregation(c), Aggregation::kSeqMeanTokenMean);
  c.ppo.aggregation = Aggregation::kSeqMeanTokenSum;
  EXPECT_EQ(token_aggregation(c), Aggregation::kSeqMeanTokenSum);
  EXPECT_THROW(token_weights({1}, {1}, {.tokens = 1, .sequences = 1}, Aggregation::kAuto, 1), core::Error);
}

TEST(RlConfig, WarnsOfAClipThatIsTooWideForGspo) {
  const RlFacts facts{.sequences_per_iteration = 128, .samples_per_prompt = 4, .max_response_tokens = 256};
  RlConfig c;
  c.ppo.policy_loss = PolicyLoss::kGspo;
  const std::vector<std::string> notes = check(c, facts);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_NE(notes[0].find("/ppo/clip_low: gspo"), std::string::npos);
  EXPECT_NE(notes[1].find("/ppo/clip_high: gspo"), std::string::npos);
  c.ppo.clip_low = 3e-4;
  c.ppo.clip_high = 4e-4;
  EXPECT_TRUE(check(c, facts).empty());
}

TEST(RlConfig, ReadsItsGroupsStrictly) {
  RlConfig c;
  const auto read = [&](const char* text) {
    core::read_fields([&](core::Fields& f) { describe(f, c); }, core::parse_json(text, "test"), "test");
  };
  read(
      R"({"ppo": {"dual_clip": null, "aggregation": "seq-mean-token-sum-norm"}, "kl": {"estimator": "k3"}})");
  EXPECT_FALSE(c.ppo.dual_clip.has_value());
  EXPECT_EQ(c.ppo.aggregation, Aggregation::kSeqMeanTokenSumNorm);
  EXPECT_EQ(c.kl.estimator, KlEstimator::kK3);
  EXPECT_THROW(read(R"({"ppo": {"clip_hihg": 0.3}})"), core::Error);
  EXPECT_THROW(read(R"({"advantage": {"lambda": 1.5}})"), core::Error);
}

}  // namespace
}  // namespace pan::rl
