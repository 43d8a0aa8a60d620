// Estimators of KL(policy || reference) from log-probabilities of sampled tokens, and the controller of the
// coefficient. With x = ln p_policy - ln p_reference: k1 = x, abs = |x|, k2 = x^2 / 2, k3 = exp(-x) - 1 + x
// (J. Schulman, "Approximating KL divergence", 2020). k1 and k3 are unbiased in value; in a loss only k2 and
// k3 have a useful gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/json.h"
#include "rl/rl_config.h"

namespace pan::rl {

double kl_token(double logprob, double reference, KlEstimator estimator);

// Elementwise, differentiable in logprobs. -x is clamped to [-20, 20] and k3 to [-10, 10].
at::Tensor kl_tokens(const at::Tensor& logprobs, const at::Tensor& reference, KlEstimator estimator);

// Adaptive (Ziegler et al. 2019, section 2.2): after n sequences with mean KL d, beta *= 1 + clip(d / target
// - 1, -0.2, 0.2) n / horizon. Fixed: beta stays.
class KlCoefficient {
 public:
  explicit KlCoefficient(const KlConfig& config);
  double value() const { return value_; }
  void update(double kl, int64_t num_sequences);

  core::Json state() const;            // {"value": ...}, exact
  void load(const core::Json& state);  // Errors: kData

 private:
  KlConfig config_;
  double value_;
};

}  // namespace pan::rl
