// What the trainer hands to rl: finished token sequences, and the layout of per-token results.
//
// Everything per token in this module is over RESPONSE tokens only, laid end to end in the order of the
// sequences ("flat response layout"): the tokens of sequence i are rows offsets[i] .. offsets[i+1]-1 of every
// [R] tensor. There is no padding and therefore no mask; a sequence that must not be trained on is left out
// of the loss by `Advantages::trained`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pan::rl {

struct TrainSequence {
  int64_t id = 0;               // global sample id
  int64_t group = 0;            // samples of one prompt share it (grpo, rloo, ...); any numbering
  std::vector<int64_t> tokens;  // prompt + response; end-of-text belongs to the response and is trained on
  int64_t prompt_length = 0;    // P; 1 <= P <= tokens.size()
  bool truncated = false;       // stopped by the length limit, not by an end-of-text or stop string
  // Log-probabilities the sampler saw, one per response token; empty where unknown. Only for the mismatch
  // metrics and truncated importance weights; training ratios use the scorer's.
  std::vector<float> sampler_logprobs = {};

  int64_t response_length() const { return static_cast<int64_t>(tokens.size()) - prompt_length; }
};

// offsets of the flat response layout: [B + 1], first 0, last R.
std::vector<int64_t> response_offsets(const std::vector<TrainSequence>& sequences);

// Metric name (verl's paths where verl has one) -> value.
using Metrics = std::map<std::string, double>;

}  // namespace pan::rl
