// The losses, all in float32 (float64 in tests) and all as weighted sums over tokens: the weights hold the
// whole normalisation of an optimizer step, so that gradients do not depend on how the step is cut into
// micro-batches.
//
//   at::Tensor w = rl::token_weights(lengths, trained, Aggregation::kTokenMean, norm);   // once per
//   optimizer step rl::PolicyLossResult r = rl::policy_loss({logprobs, old, advantages, w_micro,
//   offsets_micro}, ppo); r.loss.backward(); // sums over micro-batches
//
// Sources: PPO (Schulman et al. 2017, Eq. 7), dual clip (Ye et al. 2020, Eq. 5), clip-higher (Yu et al. 2025,
// Eq. 10), GSPO (Zheng et al. 2025, Eq. 5-7 with the token-level gradient of Eq. 13), CISPO (MiniMax 2025,
// Eq. 4-5).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "rl/rl_config.h"

namespace pan::rl {

// Weights of the tokens of one optimizer step, flat response layout, float32 on the CPU: sum over tokens of
// weight * loss is
//   token-mean              sum / number of trained tokens
//   seq-mean-token-sum      mean over trained sequences of their sums
//   seq-mean-token-mean     mean over trained sequences of their means
//   seq-mean-token-sum-norm mean over trained sequences of sum / norm_tokens (Dr. GRPO's constant: the
//   longest response allowed)
// Untrained or empty sequences have weight 0 and are not counted. `total_tokens` and `total_sequences`, where
// given, are the counts over all ranks. Nothing to train on gives all zeros.
struct StepCounts {
  double tokens = 0;
  double sequences = 0;
};
StepCounts count_step(const std::vector<int64_t>& lengths, const std::vector<uint8_t>& trained);
at::Tensor token_weights(const std::vector<int64_t>& lengths, const std::vector<uint8_t>& trained,
                         const StepCounts& counts, Aggregation aggregation, int64_t norm_tokens);

// Log-ratios are clamped to [-20, 20] before exp: beyond it a ratio says nothing and overflows.
inline constexpr double kMaxLogRatio = 20.0;

struct PolicyLossInput {
  at::Tensor logprobs;                  // [n] float32, differentiable
  at::Tensor old_logprobs;              // [n]
  at::Tensor advantages;                // [n]
  at::Tensor weights;                   // [n] of token_weights
  const std::vector<int64_t>& offsets;  // [b + 1] sequence boundaries in [n] (gspo)
  at::Tensor importance;                // [n] truncated sampler-to-trainer weights, undefined = 1
};

// Truncated importance weights of a sampler whose probabilities are not the trainer's: min(p_trainer /
// p_sampler, cap) of each token, from log-probabilities [n] of both; the log-ratio is clamped as above.
at::Tensor importance_weights(const at::Tensor& trainer, const at::Tensor& sampler, double cap);

// Sums over the tokens with weight > 0, detached; the caller adds them up and divides by the count. float32
// scalars on the device.
struct PolicyLossResult {
  at::Tensor loss;           // scalar, differentiable: sum of weight * token loss
  at::Tensor clipped;        // tokens where clipping is active (upper or lower bound of the ratio)
  at::Tensor clipped_lower;  // tokens where the dual clip is active
  at::Tensor kl_sum;         // sum of old - new log-probability (verl's ppo_kl)
  at::Tensor k3_sum;         // sum of exp(x) - 1 - x, x = new - old: never negative; what target_kl looks at
  at::Tensor ratio_sum, ratio_max, ratio_min;
};
PolicyLossResult policy_loss(const PolicyLossInput& input, const PpoConfig& config);

struct ValueLossResult {
  at::Tensor
      loss;  // scalar, differentiable: sum of weight * 0.5 * max((V - G)^2, (clip(V, V_old +- c) - G)^2)
  at::Tensor clipped;  // tokens where the clipped branch is the larger
  at::Tensor sum;      // sum of V
};
ValueLossResult value_loss(const at::Tensor& values, const at::Tensor& old_values, const at::Tensor& returns,
                           const at::Tensor& weights, std::optional<double> clip);

}  // namespace pan::rl
