// Which tokens' advantages are amplified: docs/rhythm.md section 8 (arXiv:2510.13554v2, Eq. 14-19).
//
//   CreditResult c = shape_credit({.prompt_length = P, .num_tokens = N, .waad = waad, .fai = fai, ...},
//   config); advantage[t] *= c.gamma[t - P];
#pragma once

#include <cstdint>
#include <vector>

#include "rhythm/rhythm_config.h"

namespace pan::rhythm {

// Series are [N], indexed by position; NaN = undefined. Only what the mode reads has to be there.
struct CreditInput {
  int64_t prompt_length = 0;   // P
  int64_t num_tokens = 0;      // N
  std::vector<double> waad{};  // SequenceRhythm::waad (local_chunk, coupled)
  std::vector<double> fai{};   // SequenceRhythm::fai (global_anchor, coupled)
  std::vector<double>
      token_entropy{};     // of the distribution that token t was drawn from, i.e. row t-1 (entropy)
  uint64_t seed = 0;       // of the run (random)
  uint64_t sample_id = 0;  // global, unique in the run (random)
};

struct CreditResult {
  std::vector<double> gamma;  // [N - P] multiplier of the advantage of token P + i
  // Positions in increasing order; only what the mode uses.
  std::vector<int64_t> selected;  // amplified (random, entropy, local_chunk, global_anchor); T_glob (coupled)
  std::vector<int64_t> local;     // T_loc (coupled)
  std::vector<int64_t> dominated;   // D (coupled)
  std::vector<int64_t> introduced;  // intro(D) (coupled)
};

// Errors: kInternal when a series the mode reads is not [N].
CreditResult shape_credit(const CreditInput& input, const RhythmConfig& config);

// Delta[t] = |waad[t] - waad[t+1]| on first <= t <= last - 2 with [first, last) = [P, N); NaN elsewhere. [N].
std::vector<double> waad_jumps(const std::vector<double>& waad, int64_t prompt_length);

// The ceil(q n) largest (or smallest) of the n positions of [begin, end) where x is not NaN; ties to the
// earlier. Positions in increasing order.
std::vector<int64_t> top_q(const std::vector<double>& x, int64_t begin, int64_t end, double q,
                           CreditSelect select = CreditSelect::kTop);

}  // namespace pan::rhythm
