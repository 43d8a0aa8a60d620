#include "rl/kl.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace pan::rl {

namespace {
constexpr double kMaxLogDifference = 20.0;
constexpr double kMaxK3 = 10.0;
}  // namespace

double kl_token(double logprob, double reference, KlEstimator estimator) {
  const double x = logprob - reference;
  switch (estimator) {
    case KlEstimator::kAbs:
      return std::abs(x);
    case KlEstimator::kK2:
      return 0.5 * x * x;
    case KlEstimator::kK3: {
      const double y = std::clamp(-x, -kMaxLogDifference, kMaxLogDifference);
      return std::clamp(std::expm1(y) - y, -kMaxK3, kMaxK3);
    }
    case KlEstimator::kAuto:
    case KlEstimator::kK1:
      break;
  }
  return x;
}

at::Tensor kl_tokens(const at::Tensor& logprobs, const at::Tensor& reference, KlEstimator estimator) {
  const at::Tensor x = logprobs - reference;
  switch (estimator) {
    case KlEstimator::kAbs:
      return x.abs();
    case KlEstimator::kK2:
      return 0.5 * x.square();
    case KlEstimator::kK3: {
      const at::Tensor y = (-x).clamp(-kMaxLogDifference, kMaxLogDifference);
      return (y.expm1() - y).clamp(-kMaxK3, kMaxK3);
    }
    case KlEstimator::kAuto:
    case KlEstimator::kK1:
      break;
  }
  return x;
}

KlCoefficient::KlCoefficient(const KlConfig& config) : config_(config), value_(config.coefficient) {}

void KlCoefficient::update(double kl, int64_t num_sequences) {
  if (config_.controller == KlController::kFixed) return;
  const double error = std::clamp(kl / config_.target - 1.0, -0.2, 0.2);
  value_ *= 1.0 + error * static_cast<double>(num_sequences) / static_cast<double>(config_.horizon);
}

core::Json KlCoefficient::state() const { return {{"value", value_}}; }

void KlCoefficient::load(const core::Json& state) {
  const auto it = state.find("value");
  PAN_CHECK(
      it != state.end() && it->is_number() && std::isfinite(it->get<double>()) && it->get<double>() >= 0,
      kData, "not the state of a KL coefficient")
      .pointer("/value")
      .expected("a number >= 0")
      .got(state.dump());
  value_ = it->get<double>();
}

}  // namespace pan::rl
