// From queries and keys of one micro-batch to the rhythm of its sequences: docs/rhythm.md sections 2 to 6.
//
//   auto batch = measure(layers, cu_seqlens, texts, groups, config);   // one SequenceRhythm per sequence
//   batch[0].steps[2].preplan_entropy[kPreplan];
//
// Everything runs on the device of q and k; what comes back are a few numbers a token on the host. Results of
// a sequence do not depend on the others of its micro-batch.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/attention_stats.h"
#include "rhythm/head_groups.h"
#include "rhythm/rhythm_config.h"
#include "rhythm/steps.h"
#include "rhythm/text.h"

namespace pan::rhythm {

// Indices of StepRhythm's pairs.
enum Phase : size_t { kPreplan = 0, kAnchor = 1 };

struct StepRhythm {
  Step step{};
  // Mean over the positions of each phase; NaN where there is none (empty phase, no anchors).
  std::array<double, 2> preplan_entropy{};       // H_glob mean of norm_entropy, 0..1
  std::array<double, 2> anchor_concentration{};  // H_glob mean of (anchor_mass - u) / (1 - u), <= 1
  std::vector<int64_t> anchors{};                // A_k, increasing positions
  bool repeated = false;                         // says the same as an earlier step
};

// E_k and C_k by the configured form; NaN = missing.
double entropy_term(const StepRhythm& step, Form form);
double concentration_term(const StepRhythm& step, Form form);

struct SequenceRhythm {
  int64_t num_tokens = 0;         // N
  int64_t prompt_length = 0;      // P
  std::vector<StepRhythm> steps;  // K of them
  // [N] group means at each position; NaN = undefined there.
  std::vector<double> waad;          // H_loc, token; defined on [P, N)
  std::vector<double> norm_entropy;  // H_glob, 0..1; defined on [P, N)
  std::vector<double> fai;           // H_glob; defined where at least fai_min_rows response rows read the key
  double repeated_8grams = 0;        // see text.h

  int64_t response_length() const { return num_tokens - prompt_length; }
};

// layers: the tap's capture, q [N, H, D] and k [N, Hkv, D] of every layer of `groups` (others are ignored),
// packed. cu_seqlens: B + 1 boundaries. texts: B, in order. Errors: kInternal for shapes that do not belong
// together, kConfig for groups of another model.
std::vector<SequenceRhythm> measure(const std::vector<kernels::LayerQk>& layers,
                                    const std::vector<int64_t>& cu_seqlens,
                                    const std::vector<SequenceText>& texts, const HeadGroups& groups,
                                    const RhythmConfig& config);

// Per-head statistics for looking at, each [layers, heads, N] float32 on the CPU over the packed batch; all
// rows.
struct HeadStatistics {
  at::Tensor entropy, norm_entropy, distance, distance_ns, waad, fai, sink_mass;
};
HeadStatistics head_statistics(const std::vector<kernels::LayerQk>& layers,
                               const std::vector<int64_t>& cu_seqlens,
                               const std::vector<int64_t>& prompt_lengths, const RhythmConfig& config);

}  // namespace pan::rhythm
