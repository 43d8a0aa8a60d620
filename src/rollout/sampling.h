// From logits to tokens: temperature, top-k, top-p, one uniform number per token.
//
//   rollout::SamplerOptions o{.temperature = 1.0};
//   rollout::Draws d = rollout::sample_rows(logits, o, {{seed, Purpose::kSample, sample_id, position}, ...});
//
// A token depends on its own row of logits, its key and the options, never on the other rows or the number of
// threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "rollout/rollout_config.h"

namespace pan::rollout {

struct SamplerOptions {
  double temperature = 1.0;  // 0 = the most likely token, lowest id among equals
  int64_t top_k = 0;         // >= 0; 0 or >= V = off
  double top_p = 1.0;        // (0, 1]; 1 = off
  bool entropy = false;      // also the entropy of the full distribution
};

// One entry per row.
struct Draws {
  std::vector<int64_t> tokens;
  // ln softmax(logits / temperature)[token] over the full vocabulary; temperature 0 counts as 1 here
  std::vector<float> logprobs;
  std::vector<float> entropies;  // nat, of the same distribution; empty unless asked for
  std::vector<float> cut_mass;   // probability that top-k and top-p removed, in [0, 1); 0 where both are off
};

// A row of logits with a NaN, with +infinity, or with nothing finite. Kind kGuard.
class NonFiniteLogits : public core::Error {
 public:
  NonFiniteLogits(int64_t row_index, const std::string& found);
  int64_t row() const { return row_; }

 private:
  int64_t row_;
};

// logits [B, V], any floating type and device (computed in float32 on the host), rows contiguous. keys [B].
//
// Order of work: logits / temperature; the top_k largest stay; of those, renormalised, the shortest prefix in
// descending order whose sum reaches top_p stays (at least one token; nucleus sampling, Holtzman et al. 2020,
// section 3.1). Equal logits are ordered by id, lower first, so that the kept set is unique. The token is
// drawn by inverting the cumulative distribution of the kept tokens in ascending order of id with the uniform
// number of the key.
//
// Errors: NonFiniteLogits; kInternal for wrong shapes or options.
Draws sample_rows(const at::Tensor& logits, const SamplerOptions& options,
                  const std::vector<core::rng::Key>& keys);

// The tokens that top-k and top-p keep of one row [V], ascending ids. For tests and displays.
std::vector<int64_t> kept_tokens(const at::Tensor& logits, const SamplerOptions& options);

}  // namespace pan::rollout
