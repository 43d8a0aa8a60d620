// A run's state on disk: writing it as a checkpoint and reading it back, bit for bit.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "train/logs.h"
#include "train/run_dir.h"
#include "train/session.h"

namespace pan::train {

// checkpoints/step_NNNNNN: policy/, critic/ (Hugging Face folders), optimizer state and masters as
// safetensors, the loop state and the lengths of the log files as sections. `metric`: value of
// checkpoint.metric at this iteration, if evaluated. Errors: kIo; the previous checkpoint is untouched then.
void save_snapshot(Session& session, const RunDir& dir, const LogLengths& lengths,
                   std::optional<double> metric);

struct Resumed {
  std::unique_ptr<Session> session;
  LogLengths log_lengths;
  bool found = false;  // false: no complete checkpoint; the session is a fresh one
};

// Opens the newest complete checkpoint. Errors: kConfig where `config` computes something else than the
// checkpoint's run and allow_change is not set (each difference is named); kData for a checkpoint of another
// model or a damaged one.
Resumed resume_session(const RunDir& dir, const config::RunConfig& config, bool allow_change);

}  // namespace pan::train
