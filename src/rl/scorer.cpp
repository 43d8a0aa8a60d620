#include "rl/scorer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "rl/forward.h"

namespace pan::rl {

namespace {

void check_plan(const std::vector<TrainSequence>& sequences, const std::vector<MicroBatch>& plan) {
  std::vector<int> seen(sequences.size());
  for (const MicroBatch& m : plan)
    for (int64_t i : m) {
      PAN_CHECK(i >= 0 && i < static_cast<int64_t>(seen.size()), kInternal,
                "the plan names a sequence that is not there");
      ++seen[static_cast<size_t>(i)];
    }
  PAN_CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }), kInternal,
            "the scoring plan must name every sequence exactly once");
}

// Copies a micro-batch's values to the places of its sequences.
void scatter(const at::Tensor& values, const PackedRows& packed, const MicroBatch& micro,
             const std::vector<int64_t>& offsets, at::Tensor& flat) {
  const at::Tensor host = values.detach().to(at::kCPU, at::kFloat);
  for (size_t k = 0; k < micro.size(); ++k) {
    const int64_t length = packed.offsets[k + 1] - packed.offsets[k];
    flat.narrow(0, offsets[static_cast<size_t>(micro[k])], length)
        .copy_(host.narrow(0, packed.offsets[k], length));
  }
}

void check_finite(const at::Tensor& flat, const std::vector<TrainSequence>& sequences,
                  const std::vector<int64_t>& offsets, const char* name) {
  if (!flat.defined() || at::isfinite(flat).all().item<bool>()) return;
  for (size_t i = 0; i < sequences.size(); ++i)
    PAN_CHECK(at::isfinite(flat.narrow(0, offsets[i], offsets[i + 1] - offsets[i])).all().item<bool>(),
              kGuard, "scoring gave a value that is not finite")
        .pointer(name)
        .where("sequence " + std::to_string(sequences[i].id))
        .remedy(
            "Look for NaN in the model's weights; resume from an earlier checkpoint with a lower learning "
            "rate.");
}

// Collects the tapped layers of one forward.
struct Tapped {
  std::vector<kernels::LayerQk> layers;
  model::AttentionTap tap;
  explicit Tapped(const std::vector<int64_t>& which) {
    tap.layers = which;
    tap.on_layer = [this](const kernels::LayerQk& layer) { layers.push_back(layer); };
  }
  Tapped(const Tapped&) = delete;
  Tapped& operator=(const Tapped&) = delete;
};

}  // namespace

Scorer::Scorer(const Models& models, ScorerOptions options) : models_(models), options_(std::move(options)) {
  PAN_CHECK(models_.policy != nullptr, kInternal, "a scorer without a policy");
  PAN_CHECK(models_.critic == nullptr || models_.value_head != nullptr, kInternal,
            "a critic without a value head");
}

ScoredBatch Scorer::score(const std::vector<TrainSequence>& sequences, const std::vector<MicroBatch>& plan,
                          const std::vector<int64_t>& layers, const CaptureVisitor& visitor) const {
  const at::NoGradGuard no_grad;
  check_plan(sequences, plan);
  ScoredBatch out;
  out.offsets = response_offsets(sequences);
  const auto empty = [&](bool wanted) {
    return wanted ? at::zeros({out.num_tokens()}, at::kFloat) : at::Tensor();
  };
  out.logprobs = empty(true);
  out.entropy = empty(true);
  out.reference_logprobs = empty(models_.reference != nullptr);
  out.values = empty(models_.value_head != nullptr);

  const bool tapping = !layers.empty() && visitor;
  int64_t done = 0;
  for (const MicroBatch& micro : plan) {
    const PackedRows packed = pack_rows(sequences, micro, models_.policy->options().device);
    {
      Tapped tapped(layers);
      const at::Tensor hidden = response_hidden(*models_.policy, packed, tapping ? &tapped.tap : nullptr);
      if (packed.offsets.back() > 0) {
        const auto result = response_logprobs(*models_.policy, hidden, packed, options_.temperature);
        scatter(result.logprob, packed, micro, out.offsets, out.logprobs);
        scatter(result.entropy, packed, micro, out.offsets, out.entropy);
        if (models_.value_head && !models_.critic)
          scatter((*models_.value_head)(hidden), packed, micro, out.offsets, out.values);
      }
      if (tapping) visitor({sequences, micro, packed.batch, tapped.layers});
    }
    if (packed.offsets.back() > 0 && models_.critic)
      scatter((*models_.value_head)(response_hidden(*models_.critic, packed)), packed, micro, out.offsets,
              out.values);
    if (packed.offsets.back() > 0 && models_.reference) {
      const at::Tensor hidden = response_hidden(*models_.reference, packed);
      scatter(response_logprobs(*models_.reference, hidden, packed, options_.temperature).logprob, packed,
              micro, out.offsets, out.reference_logprobs);
    }
    PAN_CHECK(!options_.progress || options_.progress(++done, static_cast<int64_t>(plan.size())),
              kInterrupted, "stopped while scoring");
  }
  check_finite(out.logprobs, sequences, out.offsets, "log-probabilities of the policy");
  check_finite(out.values, sequences, out.offsets, "values of the critic");
  check_finite(out.reference_logprobs, sequences, out.offsets, "log-probabilities of the reference model");
  return out;
}

void Scorer::visit(const std::vector<TrainSequence>& sequences, const std::vector<MicroBatch>& plan,
                   const std::vector<int64_t>& layers, const CaptureVisitor& visitor) const {
  const at::NoGradGuard no_grad;
  int64_t done = 0;
  for (const MicroBatch& micro : plan) {
    const PackedRows packed = pack_rows(sequences, micro, models_.policy->options().device);
    Tapped tapped(layers);
    models_.policy->hidden(packed.batch, &tapped.tap);
    visitor({sequences, micro, packed.batch, tapped.layers});
    PAN_CHECK(!options_.progress || options_.progress(++done, static_cast<int64_t>(plan.size())),
              kInterrupted, "stopped while reading the attention");
  }
}

namespace {

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  double mean_a = 0, mean_b = 0, aa = 0, bb = 0, ab = 0;
  const auto n = static_cast<double>(a.size());
  for (size_t i = 0; i < a.size(); ++i) mean_a += a[i] / n, mean_b += b[i] / n;
  for (size_t i = 0; i < a.size(); ++i) {
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
    ab += (a[i] - mean_a) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0.0;
}

}  // namespace

Metrics sampler_mismatch(const std::vector<TrainSequence>& sequences, const ScoredBatch& scored) {
  std::vector<double> sampler, trainer;
  double difference = 0, square = 0, max = 0, kl = 0, k3 = 0, weight = 0, weight_square = 0, ratio_max = 0;
  const float* logprobs = scored.logprobs.const_data_ptr<float>();
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<float>& s = sequences[i].sampler_logprobs;
    if (s.empty()) continue;
    PAN_CHECK(static_cast<int64_t>(s.size()) == sequences[i].response_length(), kInternal,
              "sampler log-probabilities do not match the response");
    for (size_t t = 0; t < s.size(); ++t) {
      const double p = s[t], q = logprobs[static_cast<size_t>(scored.offsets[i]) + t];
      const double d = std::abs(std::exp(p) - std::exp(q)), x = std::clamp(q - p, -20.0, 20.0);
      sampler.push_back(std::exp(p)), trainer.push_back(std::exp(q));
      difference += d, square += d * d, max = std::max(max, d);
      kl += p - q, k3 += std::expm1(x) - x;
      weight += std::exp(x), weight_square += std::exp(2 * x), ratio_max = std::max(ratio_max, std::exp(x));
    }
  }
  const auto n = static_cast<double>(sampler.size());
  if (n == 0) return {};
  const double mean = difference / n;
  return {{"training/rollout_probs_diff_mean", mean},
          {"training/rollout_probs_diff_max", max},
          {"training/rollout_probs_diff_std", std::sqrt(std::max(0.0, square / n - mean * mean))},
          {"training/rollout_actor_probs_pearson_corr", correlation(sampler, trainer)},
          {"rollout_corr/kl", kl / n},
          {"rollout_corr/k3_kl", k3 / n},
          {"rollout_corr/ratio_mean", weight / n},
          {"rollout_corr/ratio_max", ratio_max},
          {"rollout_corr/ess", weight * weight / (n * weight_square)}};
}

}  // namespace pan::rl
