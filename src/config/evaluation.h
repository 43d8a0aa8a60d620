// A run's configuration as `pan-ppo eval` reads it: a few of its keys matter, the others are not looked at.
//
//   config::Loaded loaded = config::load_evaluation(tree, "runs/a/config.json", {"eval.samples=4"}, text);
#pragma once

#include <string>
#include <vector>

#include "config/load.h"

namespace pan::config {

// Whether an evaluation reads the setting, or one below it.
bool matters_in_evaluation(const std::string& pointer);

// Reads strictly, checks what matters here and leaves sizes that do not divide and the like alone. The notes
// name settings without effect: those that matter elsewhere only where an override gave them, since a run's
// own file is full of them. Errors: kConfig.
Loaded load_evaluation(core::Json tree, const std::string& source, const std::vector<std::string>& overrides,
                       const std::string& text);

// What training and evaluation refuse alike.
void check_decoding(const eval::EvalConfig& c);

// Whether an evaluation has the figure that decides which checkpoint is best. Error: kConfig.
void check_metric(const eval::EvalConfig& e, const checkpoint::CheckpointConfig& c);

}  // namespace pan::config
