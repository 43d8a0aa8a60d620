// Settings of sampling: the keys under "rollout" and under an evaluation's "sampling".
//
//   rollout::SamplingConfig c;  c.temperature = 0;  // greedy
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::rollout {

// Below this a temperature other than 0 is refused: logits divided by it would overflow.
inline constexpr double kLowestTemperature = 1e-4;

struct SamplingConfig {
  // Behaviour.
  double temperature = 1.0;  // 0 = greedy
  int64_t top_k = 0;         // token; 0 = off
  double top_p = 1.0;        // 1 = off
  int64_t max_new_tokens = 256;
  std::vector<std::string> stop_strings;  // besides those of the task

  // Speed and memory only; results do not depend on them beyond rounding of the logits.
  int64_t slots = 64;             // sequences decoded together
  int64_t prefill_tokens = 4096;  // at most this many prompt tokens in one forward (at least one prompt)
};

inline void describe(core::Fields& f, SamplingConfig& c) {
  f.number(
      "temperature", c.temperature,
      {.min = 0,
       .doc = "Divides the logits; 0.0001 or more. 0 = always the most likely token (refused in training)."});
  f.integer("top_k", c.top_k,
            {.min = 0,
             .unit = "token",
             .doc = "Samples among the k most likely tokens. 0 = off. Log-probabilities stay those of all "
                    "tokens, so training with it is biased; the cut mass is logged."});
  f.number("top_p", c.top_p,
           {.min = 0,
            .max = 1,
            .exclusive_min = true,
            .doc = "Samples among the fewest tokens whose probabilities reach this sum. 1 = off. Biased in "
                   "training like top_k."});
  f.integer("max_new_tokens", c.max_new_tokens,
            {.min = 1, .unit = "token", .doc = "Longest response, end-of-text token included."});
  const char* stop_doc =
      "A response ends once its text contains one of these, besides those of the task. The text is cut "
      "before "
      "it, the tokens are kept.";
  f.text_list("stop_strings", c.stop_strings, {.doc = stop_doc});
  f.integer("slots", c.slots,
            {.min = 1,
             .unit = "sequence",
             .doc = "Sequences decoded together: memory against speed. A finished one leaves at once and the "
                    "next prompt takes its place."});
  f.integer("prefill_tokens", c.prefill_tokens,
            {.min = 1,
             .unit = "token",
             .doc = "Most prompt tokens in one forward pass (a prompt is never split). Bounds memory only."});
}

}  // namespace pan::rollout
