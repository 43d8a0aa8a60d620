// `train --dry-run`: everything that can be checked before a run, and what it will take.
#pragma once

#include <string>
#include <vector>

#include "config/run_config.h"

namespace pan::train {

// Lines for stdout. config_only opens no model and no data. Errors: everything that would stop the run at its
// start, also a plan that does not fit the memory of machine or GPU (kDevice) or the free disk space (kIo).
std::vector<std::string> dry_run(const config::RunConfig& config, const std::string& run_dir,
                                 bool config_only);

struct Memory;
struct MemoryPlan;
// Error: kDevice where the plan is beyond the memory.
void check_memory(const MemoryPlan& plan, const Memory& memory);

struct DiskPlan;
// What the checkpoints of a run take, as one line. Error: kIo where that is more than is free, the run's
// checkpoints of now counted as free.
std::string check_disk(const DiskPlan& plan, const std::string& run_dir);

}  // namespace pan::train
