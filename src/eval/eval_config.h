// Options of evaluation, in training and by `pan-ppo eval`.
#pragma once

#include <cstdint>

#include "core/schema.h"

namespace pan::eval {

struct EvalConfig {
  int64_t every = 0;
  bool at_start = true;
  int64_t num_problems = 0;
  int64_t samples = 1;
  double temperature = 0;
  double top_p = 1;
  int64_t top_k = 0;
  int64_t max_new_tokens = 0;
  int64_t slots = 32;
};
void describe(core::Fields& f, EvalConfig& c);

}  // namespace pan::eval
