// When checkpoints are written and which are kept.
#pragma once

#include <cstdint>
#include <string>

#include "core/schema.h"

namespace pan::checkpoint {

enum class Better { kHigher, kLower };

struct CheckpointConfig {
  int64_t every = 10;
  int64_t keep_last = 2;
  int64_t keep_best = 1;
  std::string metric = "eval/accuracy";
  Better better = Better::kHigher;
};
void describe(core::Fields& f, CheckpointConfig& c);

}  // namespace pan::checkpoint
