// From rewards to advantages and value targets. Plain arithmetic in float64 over host arrays, in a fixed
// order.
//
//   rl::RewardInput in{.sequences = seqs, .scored = scored, .task_reward = rewards, .rhythm = payments,
//   .credit = gamma_t}; rl::Advantages a = rl::compute_advantages(in, config, kl_coefficient,
//   max_response_tokens);
//
// Definitions: docs/rhythm.md section 7. Sources: GAE (Schulman et al. 2016, Eq. 16), GRPO (Shao et al. 2024,
// section 4.1), Dr. GRPO (Liu et al. 2025: no division by the deviation), RLOO (Ahmadian et al. 2024),
// REINFORCE++ and its baseline form (Hu et al. 2025), soft overlong penalty (Yu et al. 2025, Eq. 13).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rl/rl_config.h"
#include "rl/scorer.h"
#include "rl/sequence.h"

namespace pan::rl {

struct RewardInput {
  const std::vector<TrainSequence>& sequences;
  const ScoredBatch& scored;
  const std::vector<double>& task_reward;  // [B]
  // [R] float64: rhythm payments at their tokens, lambda and cap applied. Undefined = no addition at all,
  // which is what lambda = 0 must pass.
  at::Tensor rhythm;
  // [R] float32: credit multiplier gamma_t. Undefined = 1, no multiplication.
  at::Tensor credit;
};

// What a sequence was paid besides the task's reward and the rhythm.
struct Paid {
  double length_penalty = 0;  // <= 0
  double kl = 0;              // of the KL in the reward
  double total = 0;           // with the task's reward and the rhythm: the sum of its tokens' rewards
};

struct Advantages {
  at::Tensor advantages;  // [R] float32: what the policy loss multiplies (whitened, then credit)
  at::Tensor returns;     // [R] float32: value targets, never whitened, never multiplied by credit; undefined
                          // without critic
  std::vector<uint8_t>
      trained;  // [B] 0: the sequence takes no part in losses and whitening (advantage.mask_truncated)
  std::vector<Paid> paid;  // [B]
  double kl = 0;    // nat per token: mean over sequences of each one's token mean; 0 without a reference
  Metrics metrics;  // critic/{score,rewards,advantages,returns,values}/{mean,max,min},
                    // critic/vf_explained_var, ...
};

// In this order: penalties for length (advantage.*), KL in the reward, rhythm payments, estimator, whitening,
// credit. task_reward is paid at the last response token. Errors: kConfig where an estimator needs groups of
// two or more and a group has one; kInternal for shapes that do not fit.
Advantages compute_advantages(const RewardInput& input, const RlConfig& config, double kl_coefficient,
                              int64_t max_response_tokens);

// A_t = delta_t + gamma lambda A_(t+1), delta_t = r_t + gamma V_(t+1) - V_t, V after the last token 0 (also
// where the answer was cut off: no bootstrap). One sequence; rewards, values and the result have its
// response's length.
std::vector<double> gae(const std::vector<double>& rewards, const std::vector<double>& values, double gamma,
                        double lambda);

// In place: (x - mean) / sqrt(var + 1e-8) over the tokens of trained sequences, unbiased variance; with
// fewer than two tokens only the mean is removed. Other tokens become 0.
void whiten(std::vector<double>& x, const std::vector<int64_t>& offsets, const std::vector<uint8_t>& trained);

}  // namespace pan::rl
