// The stages of one iteration, in the order of docs/rhythm.md section 9. Each takes what it needs and fills
// its part of `Iteration`; none writes files. A stop request during rollout or scoring leaves by
// Error(kInterrupted).
#pragma once

#include <functional>
#include <string>

#include "train/iteration.h"
#include "train/session.h"

namespace pan::train {

struct StageHooks {
  struct Progress {
    std::string phase, unit;  // "scoring", "micro-batch"
    int64_t done = 0, total = 0;
  };
  std::function<void(const Progress&)> progress;  // of the phase that runs
  std::function<bool()> should_stop;
  // Asked in the update before each micro-batch, with the share of it that is done.
  std::function<bool(double share)> should_drop_update = {};
};

void run_rollout(Session& session, Iteration& iteration, const StageHooks& hooks);
void run_scoring(Session& session, Iteration& iteration,
                 const StageHooks& hooks);                // with the tap; calibrates when due
void run_rhythm(Session& session, Iteration& iteration);  // moments, payments
void run_advantages(Session& session, Iteration& iteration);
// False: interrupted half-way; the weights must not be saved. Errors: kGuard after max_bad_steps.
bool run_update(Session& session, Iteration& iteration, const StageHooks& hooks);

}  // namespace pan::train
