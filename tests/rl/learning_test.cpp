// Whether it learns: a tiny random policy, a reward that counts a token.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tiny.h"

namespace pan::rl {
namespace {

constexpr int64_t kToken = 5;
constexpr int64_t kLength = 8;

std::vector<TrainSequence> prompts(int64_t count, uint64_t iteration) {
  std::vector<TrainSequence> out;
  core::rng::Stream s({11, core::rng::Purpose::kTest, iteration, 0});
  for (int64_t i = 0; i < count; ++i) {
    TrainSequence x;
    x.id = static_cast<int64_t>(iteration) * count + i;
    x.group = i / 8;
    if (i % 8 == 0)
      for (int t = 0; t < 4; ++t) x.tokens.push_back(static_cast<int64_t>(1 + s.below(kVocab - 1)));
    else
      x.tokens = out.back().tokens;
    x.prompt_length = 4;
    out.push_back(std::move(x));
  }
  return out;
}

double share(const TrainSequence& s) {
  const auto first = s.tokens.begin() + s.prompt_length;
  return static_cast<double>(std::count(first, s.tokens.end(), kToken)) / static_cast<double>(kLength);
}

// Iterations until the mean reward reaches 0.9 of the maximum; `limit` if it never does. The bound is counted
// in iterations of 64 answers of 8 tokens and not in seconds, so that a busy machine does not decide.
int iterations_to_learn(RlConfig config, int limit) {
  Tiny tiny(1);
  tiny.policy = tiny_decoder(21);
  tiny.reference = model::clone_decoder(*tiny.policy);
  tiny.critic = model::clone_decoder(*tiny.policy);
  tiny.config = std::move(config);
  tiny.config.ppo.minibatch_size = 32;
  tiny.config.optimizer.lr = tiny.config.critic_optimizer.lr = 5e-3;
  Updater updater(tiny.models(), tiny.config, tiny.options);
  for (int i = 0; i < limit; ++i) {
    auto s = prompts(64, static_cast<uint64_t>(i));
    sample(*tiny.policy, s, kLength, 31);
    std::vector<double> rewards;
    for (TrainSequence& x : s) {
      for (size_t t = static_cast<size_t>(x.prompt_length); t < x.tokens.size(); ++t)
        if (x.tokens[t] == kEnd) x.tokens[t] = 1;  // fixed length: no early end in this game
      rewards.push_back(share(x));
    }
    const double mean = std::accumulate(rewards.begin(), rewards.end(), 0.0) / 64;
    if (mean >= 0.9) return i;
    const Iteration it = prepare(tiny, s, rewards, 41, i);
    const UpdateResult r =
        updater.update({s, it.scored, it.advantages, it.plan, i, tiny.config.kl.coefficient});
    EXPECT_EQ(r.first_bad, "");
  }
  return limit;
}

TEST(Learning, PpoReachesNineTenthsOfTheMaximum) { EXPECT_LT(iterations_to_learn({}, 120), 120); }

TEST(Learning, SharedTrunkReachesNineTenthsOfTheMaximum) {
  RlConfig c;
  c.critic.mode = CriticMode::kShared;
  EXPECT_LT(iterations_to_learn(c, 120), 120);
}

TEST(Learning, GrpoReachesNineTenthsOfTheMaximum) {
  RlConfig c;
  c.advantage.estimator = Estimator::kGrpo;
  EXPECT_LT(iterations_to_learn(c, 120), 120);
}

// The policy stands still. Half of the prompts (by their first token) pay 1 whatever is answered, the others
// the share of the token: what can be known beforehand is nearly everything.
TEST(Learning, CriticAloneExplainsTheReturns) {
  Tiny tiny(2);
  tiny.config.critic.warmup_iterations = 1000000;
  tiny.config.critic.value_clip.reset();
  tiny.config.kl.coefficient = 0;
  tiny.config.ppo.minibatch_size = 32;
  tiny.config.critic_optimizer.lr = 3e-3;
  tiny.critic = tiny_decoder(22);
  Updater updater(tiny.models(), tiny.config, tiny.options);
  double explained = -1;
  for (int i = 0; i < 120 && explained < 0.8; ++i) {
    auto s = prompts(64, static_cast<uint64_t>(i));
    sample(*tiny.policy, s, kLength, 33);
    std::vector<double> rewards;
    for (const TrainSequence& x : s) rewards.push_back(x.tokens[0] % 2 == 0 ? 1.0 : share(x));
    const Iteration it = prepare(tiny, s, rewards, 43, i);
    explained = it.advantages.metrics.at("critic/vf_explained_var");
    updater.update({s, it.scored, it.advantages, it.plan, i, 0});
  }
  EXPECT_GT(explained, 0.8);
}

}  // namespace
}  // namespace pan::rl
