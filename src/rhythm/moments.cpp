#include "rhythm/moments.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace pan::rhythm {
namespace {

core::Json moments_to_json(const DecayedMoments& m) {
  return {{"weight", m.weight}, {"mean", m.mean}, {"squares", m.squares}};
}

DecayedMoments moments_from_json(const core::Json& json, const std::string& pointer,
                                 const std::string& source) {
  return {.weight = core::get_required<double>(json, pointer + "/weight", source),
          .mean = core::get_required<double>(json, pointer + "/mean", source),
          .squares = core::get_required<double>(json, pointer + "/squares", source)};
}

}  // namespace

BatchMoments batch_moments(const std::vector<double>& values) {
  BatchMoments b;
  b.n = static_cast<int64_t>(values.size());
  if (b.n == 0) return b;
  double sum = 0;
  for (const double x : values) sum += x;
  b.mean = sum / static_cast<double>(b.n);
  for (const double x : values) b.squares += (x - b.mean) * (x - b.mean);
  return b;
}

void DecayedMoments::update(const BatchMoments& batch, double decay) {
  const double kept = decay * weight, n = static_cast<double>(batch.n);
  weight = kept + n;
  squares *= decay;
  if (batch.n == 0) return;
  const double shift = batch.mean - mean;
  squares += batch.squares + shift * shift * kept * n / weight;
  mean += shift * n / weight;
}

double DecayedMoments::sigma() const { return weight > 0 ? std::sqrt(squares / weight) : 0; }

double standardise(double x, const BatchMoments& batch, double sigma, const ZConfig& config) {
  if (std::isnan(x) || batch.n < config.min_steps || sigma < config.min_sigma || sigma == 0) return 0;
  return std::clamp((x - batch.mean) / sigma, -config.clip, config.clip);
}

core::Json RhythmMoments::to_json() const {
  return {{"entropy", moments_to_json(entropy)}, {"concentration", moments_to_json(concentration)}};
}

RhythmMoments RhythmMoments::from_json(const core::Json& json, const std::string& source) {
  return {.entropy = moments_from_json(json, "/entropy", source),
          .concentration = moments_from_json(json, "/concentration", source)};
}

}  // namespace pan::rhythm
