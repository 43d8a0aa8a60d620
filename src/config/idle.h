// Settings that change nothing in a run, so that nobody waits for their effect.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"
#include "core/json.h"

namespace pan::config {

// One sentence, "<pointer>: has no effect ...", for each setting that differs from its default and changes
// nothing here. Those of the update alone come from rl::check.
std::vector<std::string> idle_settings(const RunConfig& c);

// The same for `pan-ppo sft`, of the settings that it shares with training.
std::vector<std::string> idle_in_supervised(const RunConfig& c);

// The same for `pan-ppo eval`, of the settings that it reads.
std::vector<std::string> idle_in_evaluation(const RunConfig& c);

// The same for settings of any tree: those at or below `pointers` that are not as in `standard`. `why`
// follows "has no effect".
std::vector<std::string> idle_settings(const core::Json& given, const core::Json& standard,
                                       const std::vector<std::string>& pointers, const std::string& why);

}  // namespace pan::config
