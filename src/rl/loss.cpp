#include "rl/loss.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace pan::rl {

StepCounts count_step(const std::vector<int64_t>& lengths, const std::vector<uint8_t>& trained) {
  StepCounts counts;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (!trained[i] || lengths[i] == 0) continue;
    counts.tokens += static_cast<double>(lengths[i]);
    counts.sequences += 1;
  }
  return counts;
}

at::Tensor token_weights(const std::vector<int64_t>& lengths, const std::vector<uint8_t>& trained,
                         const StepCounts& counts, Aggregation aggregation, int64_t norm_tokens) {
  PAN_CHECK(aggregation != Aggregation::kSeqMeanTokenSumNorm || norm_tokens >= 1, kInternal,
            "seq-mean-token-sum-norm without the longest response's length");
  std::vector<float> weights;
  for (size_t i = 0; i < lengths.size(); ++i) {
    double w = 0;
    if (trained[i] && lengths[i] > 0) {
      const auto length = static_cast<double>(lengths[i]);
      switch (aggregation) {
        case Aggregation::kAuto:
          PAN_CHECK(false, kInternal, "token weights of an aggregation that nobody has chosen");
          break;
        case Aggregation::kTokenMean:
          w = 1.0 / counts.tokens;
          break;
        case Aggregation::kSeqMeanTokenSum:
          w = 1.0 / counts.sequences;
          break;
        case Aggregation::kSeqMeanTokenMean:
          w = 1.0 / (counts.sequences * length);
          break;
        case Aggregation::kSeqMeanTokenSumNorm:
          w = 1.0 / (counts.sequences * static_cast<double>(norm_tokens));
          break;
      }
    }
    weights.insert(weights.end(), static_cast<size_t>(lengths[i]), static_cast<float>(w));
  }
  return at::tensor(weights, at::kFloat);
}

namespace {

// Each token gets its own log-ratio's gradient and its sequence's mean log-ratio as value (GSPO, Eq. 13).
at::Tensor sequence_log_ratio(const at::Tensor& logprobs, const at::Tensor& log_ratio,
                              const std::vector<int64_t>& offsets) {
  std::vector<at::Tensor> parts;
  const at::Tensor detached = log_ratio.detach();
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const int64_t length = offsets[i + 1] - offsets[i];
    if (length == 0) continue;
    parts.push_back(detached.narrow(0, offsets[i], length).mean().expand({length}));
  }
  return at::cat(parts) + (logprobs - logprobs.detach());
}

at::Tensor count(const at::Tensor& condition, const at::Tensor& used) {
  return at::logical_and(condition, used).sum().to(at::kFloat);
}

}  // namespace

at::Tensor importance_weights(const at::Tensor& trainer, const at::Tensor& sampler, double cap) {
  return (trainer - sampler).clamp(-kMaxLogRatio, kMaxLogRatio).exp().clamp_max(cap);
}

PolicyLossResult policy_loss(const PolicyLossInput& input, const PpoConfig& config) {
  const at::Tensor& advantages = input.advantages;
  const at::Tensor raw = input.logprobs - input.old_logprobs;
  at::Tensor log_ratio = raw.clamp(-kMaxLogRatio, kMaxLogRatio);
  if (config.policy_loss == PolicyLoss::kGspo)
    log_ratio = sequence_log_ratio(input.logprobs, log_ratio, input.offsets);
  const at::Tensor ratio = log_ratio.exp();
  const at::Tensor bounded = ratio.clamp(1.0 - config.clip_low, 1.0 + config.clip_high);
  const at::Tensor used = input.weights.gt(0);

  PolicyLossResult result;
  at::Tensor tokens;
  if (config.policy_loss == PolicyLoss::kCispo) {
    tokens = -bounded.detach() * advantages * input.logprobs;
    result.clipped = count(bounded.detach().ne(ratio.detach()), used);
    result.clipped_lower = at::zeros_like(result.clipped);
  } else {
    const at::Tensor plain = -advantages * ratio;
    const at::Tensor clipped = -advantages * bounded;
    tokens = at::maximum(plain, clipped);
    result.clipped = count(clipped.detach().gt(plain.detach()), used);
    result.clipped_lower = at::zeros_like(result.clipped);
    if (config.dual_clip && config.policy_loss == PolicyLoss::kClip) {
      const at::Tensor bound = -advantages * *config.dual_clip;
      const at::Tensor negative = advantages.lt(0);
      result.clipped_lower = count(at::logical_and(tokens.detach().gt(bound), negative), used);
      tokens = at::where(negative, at::minimum(tokens, bound), tokens);
    }
  }
  if (input.importance.defined()) tokens = tokens * input.importance;
  result.loss = (tokens * input.weights).sum();

  const at::Tensor x = raw.detach().clamp(-kMaxLogRatio, kMaxLogRatio);
  const at::Tensor zero = at::zeros_like(x);
  const at::Tensor r = ratio.detach();
  result.kl_sum = at::where(used, -raw.detach(), zero).sum();
  result.k3_sum = at::where(used, x.expm1() - x, zero).sum();
  result.ratio_sum = at::where(used, r, zero).sum();
  result.ratio_max = at::where(used, r, zero).max();
  result.ratio_min = at::where(used, r, at::full_like(r, INFINITY)).min();
  return result;
}

ValueLossResult value_loss(const at::Tensor& values, const at::Tensor& old_values, const at::Tensor& returns,
                           const at::Tensor& weights, std::optional<double> clip) {
  const at::Tensor used = weights.gt(0);
  at::Tensor error = (values - returns).square();
  ValueLossResult result;
  result.clipped = at::zeros({}, values.options().dtype(at::kFloat).requires_grad(false));
  if (clip) {
    const at::Tensor near = old_values + (values - old_values).clamp(-*clip, *clip);
    const at::Tensor near_error = (near - returns).square();
    result.clipped = count(near_error.detach().gt(error.detach()), used);
    error = at::maximum(error, near_error);
  }
  result.loss = 0.5 * (error * weights).sum();
  result.sum = at::where(used, values.detach(), at::zeros_like(values.detach())).sum();
  return result;
}

}  // namespace pan::rl
