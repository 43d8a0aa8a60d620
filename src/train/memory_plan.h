// What a run will need, worked out before it starts.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"
#include "model/arch.h"

namespace pan::train {

// Bytes by part. The peak is what stays (weights, masters, gradients, optimizer) plus the larger of the
// phases' own needs.
struct MemoryPlan {
  std::vector<std::pair<std::string, int64_t>> resident;  // all the time
  std::vector<std::pair<std::string, int64_t>> phases;    // one at a time
  int64_t peak() const;
};

MemoryPlan plan_memory(const config::RunConfig& config, const model::Arch& arch);

struct DiskPlan {
  int64_t checkpoint_bytes = 0;  // one checkpoint
  int64_t num_checkpoints = 0;   // at most at a time, the one being written included
};
DiskPlan plan_disk(const config::RunConfig& config, const model::Arch& arch);

}  // namespace pan::train
