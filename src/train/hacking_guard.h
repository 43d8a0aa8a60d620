// Is the rhythm being bought with accuracy? Watches both over a window of iterations (docs/rhythm.md section
// 6).
//
//   if (auto report = guard_rhythm(config.rhythm, {E, C, accuracy}, sigma_e, sigma_c, state); report &&
//   report->warned) ...
//
// The rewards themselves are standardised in every batch and cannot rise, so the guard looks at the terms
// before standardisation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "rhythm/rhythm_config.h"

namespace pan::train {

struct Trend {
  double slope = 0;  // per iteration
  double t = 0;      // slope / its standard error; +-1e6 at most; 0 for a constant series
};

// Ordinary least squares of y on 0, 1, 2, ...; n - 2 degrees of freedom. Needs three values or more.
Trend trend_of(const std::vector<double>& y);

struct GuardPoint {
  double entropy = 0, concentration = 0;  // means over the iteration's steps of E_k, C_k
  double accuracy = 0;                    // 0..1, of the sampled answers
};

// Part of the loop's state, so that a resumed run warns where an uninterrupted one would.
struct GuardState {
  std::vector<GuardPoint> window;
  int64_t warnings = 0;  // since the start of the run

  core::Json to_json() const;
  static GuardState from_json(const core::Json& json, const std::string& source);
};

struct GuardReport {
  Trend rhythm, accuracy;
  bool warned = false;
};

// Adds a point and looks at the newest rhythm.guard_window of them; nothing before there are so many. Rhythm:
// w_pre E / sigma_entropy + w_anc C / sigma_concentration, with the deviations of now for the whole window (a
// deviation of 0 drops its part). A warning empties the window: the next needs as many iterations again.
std::optional<GuardReport> guard_rhythm(const rhythm::RhythmConfig& config, const GuardPoint& point,
                                        double sigma_entropy, double sigma_concentration, GuardState& state);

}  // namespace pan::train
