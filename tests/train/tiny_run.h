// A run small enough for a unit test: a random model of two hundred thousand parameters on 2x2 puzzles.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace pan::testing {

// Writes a model folder (weights from `seed`, the quickstart tokenizer) into `folder`.
void make_tiny_model(const std::string& folder, uint64_t seed, int64_t num_layers = 3);

// A configuration that exercises everything a resume has to restore: adaptive KL, moments, a group refresh,
// critic warm-up, best-K.
config::RunConfig tiny_config(const std::string& model_folder,
                              const std::vector<std::string>& overrides = {});

// metrics.jsonl without the figures that depend on the clock and the memory, and without keys that begin with
// one of `without`.
std::string comparable_metrics(const std::string& run_dir, const std::vector<std::string>& without = {});

}  // namespace pan::testing
