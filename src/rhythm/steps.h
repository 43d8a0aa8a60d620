// Cuts a response into reasoning steps and each step into its two phases: docs/rhythm.md section 5.
//
//   for (const Step& s : cut_steps(text, config)) ... // [s.begin, s.end], preplan up to s.preplan_end
#pragma once

#include <cstdint>
#include <vector>

#include "rhythm/rhythm_config.h"
#include "rhythm/text.h"

namespace pan::rhythm {

// Positions in the sequence, inclusive.
struct Step {
  int64_t begin = 0;        // b_k
  int64_t end = 0;          // e_k
  int64_t preplan_end = 0;  // last token of the preplan phase; == end when the anchor phase is empty

  int64_t size() const { return end - begin + 1; }
  bool has_anchor_phase() const { return preplan_end < end; }
};

// Steps of the response in order; together they are [P, N). Empty for N = P. `waad` (the H_loc mean, [N],
// defined on [P, N)) is read only with steps = waad. Errors: kInternal for a text whose parts differ in
// length.
std::vector<Step> cut_steps(const SequenceText& text, const RhythmConfig& config,
                            const std::vector<double>& waad = {});

// Whether a step's trimmed bytes equal those of an earlier one, for each step.
std::vector<char> repeated_steps(const SequenceText& text, const std::vector<Step>& steps);

}  // namespace pan::rhythm
