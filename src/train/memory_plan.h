// What a run will need, worked out before it starts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"
#include "model/arch.h"

namespace pan::train {

// The models of a run by their sizes. `critic`: only where it is a model of its own.
struct ModelSizes {
  model::Arch policy;
  std::optional<model::Arch> critic = {};
};
ModelSizes sizes_of(const model::Arch& policy, std::optional<model::Arch> critic);
// From the folders that the configuration names. Errors: those of model::read_arch.
ModelSizes read_sizes(const config::RunConfig& config);

// Bytes by part. The peak is what stays (weights, masters, gradients, optimizer) plus the larger of the
// phases' own needs.
struct MemoryPlan {
  std::vector<std::pair<std::string, int64_t>> resident;  // all the time
  std::vector<std::pair<std::string, int64_t>> phases;    // one at a time
  int64_t peak() const;
};

MemoryPlan plan_memory(const config::RunConfig& config, const ModelSizes& models);

struct DiskPlan {
  int64_t checkpoint_bytes = 0;  // one checkpoint
  int64_t num_checkpoints = 0;   // at most at a time, the one being written included
};
DiskPlan plan_disk(const config::RunConfig& config, const ModelSizes& models);

}  // namespace pan::train
