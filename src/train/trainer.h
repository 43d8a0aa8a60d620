// The training loop.
//
//   train::TrainRequest r{.config = loaded.config, .run_dir = "runs/a"};
//   train::TrainOutcome outcome = train::train(r);
#pragma once

#include <cstdint>
#include <string>

#include "config/run_config.h"

namespace pan::train {

struct TrainRequest {
  config::RunConfig config = {};
  std::string run_dir;
  bool resume =
      false;  // go on from the newest complete checkpoint of run_dir (or from the start if there is none)
  bool allow_change = false;  // resume with settings that change what is computed
  double time_limit_s = 0;    // of this process; 0 = none
  double read_ahead_s = 1;    // about how long prompts are read ahead, to find one that cannot be used
  std::string program = {};   // version of this program, for checkpoints
};

enum class TrainEnd { kDone, kSignal, kTimeLimit, kEarlyStop };

struct TrainOutcome {
  TrainEnd end = TrainEnd::kDone;
  int64_t iterations = 0;    // completed, in all sessions together
  int64_t resumable_at = 0;  // iteration of the newest checkpoint
};

// Runs until train.iterations, a stop signal (finished or dropped at a point that can be resumed), the time
// limit, or a guard. Errors: those of the parts; kGuard after a checkpoint of the weights as they are (where
// they are finite), for which no older one is removed.
TrainOutcome train(const TrainRequest& request);

}  // namespace pan::train
