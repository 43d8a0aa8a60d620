// Decayed mean and deviation of a step statistic over iterations: docs/rhythm.md section 6.
//
//   BatchMoments b = batch_moments(values);    // all ranks' values, in rank order
//   moments.update(b, 0.99);
//   double z = standardise(x, b, moments.sigma(), config.z);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "rhythm/rhythm_config.h"

namespace pan::rhythm {

// Of one batch: n values, their mean and the sum of squared deviations from it; float64, two passes in the
// order given.
struct BatchMoments {
  int64_t n = 0;
  double mean = 0;
  double squares = 0;  // M_b
};
BatchMoments batch_moments(const std::vector<double>& values);

struct DecayedMoments {
  double weight = 0;   // W
  double mean = 0;     // mu
  double squares = 0;  // M

  void update(const BatchMoments& batch, double decay);
  double sigma() const;  // sqrt(M / W); 0 before the first value
};

// clip((x - batch.mean) / sigma, -clip, clip); 0 for a missing (NaN) x, too few values or too small a sigma.
double standardise(double x, const BatchMoments& batch, double sigma, const ZConfig& config);

// The state that a run carries from iteration to iteration, E and C apart. Reset when the head groups change.
struct RhythmMoments {
  DecayedMoments entropy;        // of E_k
  DecayedMoments concentration;  // of C_k

  void reset() { *this = {}; }
  core::Json to_json() const;
  // Errors: kData with `source` and the JSON pointer.
  static RhythmMoments from_json(const core::Json& json, const std::string& source);
};

}  // namespace pan::rhythm
