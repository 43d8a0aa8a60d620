// Against fooling oneself: who is paid by the terms of the reward, and is the rhythm bought with accuracy?
//
//   if (std::optional<Guard> g = guard_of(results.arm("lambda_0.1")); g && g->warning) ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiment/results.h"

namespace pan::experiment {

// One term of the reward among right and among wrong answers.
struct TermMeans {
  std::string term;  // "reward/cell", "rhythm/entropy_term"
  std::optional<double> right, wrong;
};

// Figures are means over seeds of the mean over the last quarter of the iterations.
struct Guard {
  std::string arm;
  bool is_paid = false;  // lambda > 0: only then is there a rhythm reward to be gamed
  std::vector<std::pair<std::string, std::optional<double>>> figures;
  std::vector<TermMeans> terms;
  // t of the least-squares trends over all iterations of the mean over seeds: the rhythm terms before
  // standardisation, w_pre E / sigma_E + w_anc C / sigma_C, and the accuracy of the sampled answers. None
  // where the rhythm is not paid for or there are fewer than five iterations.
  std::optional<double> rhythm_t, accuracy_t;
  int64_t num_trends = 0;  // runs that have such trends
  int64_t num_risen = 0;   // of them, runs where rhythm rises (t > 2) while accuracy falls (t < -2)
  int64_t num_warned = 0;  // runs whose own guard warned (rhythm/guard/warnings)
  bool warning = false;    // by the mean, by a run's trends or by a run's own guard
};

// The rule is that of a run's own guard (train/hacking_guard.h) with all iterations as its window. Nothing
// for an arm that is not trained or has no finished run.
std::optional<Guard> guard_of(const ArmResults& arm);

}  // namespace pan::experiment
