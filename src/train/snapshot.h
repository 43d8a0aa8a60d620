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
// safetensors, the loop state and the lengths of the log files as sections. One of the same iteration is
// replaced. Errors: kIo; the previous checkpoint is untouched then.
struct SnapshotOptions {
  std::optional<double> metric = {};  // value of checkpoint.metric at this iteration, if evaluated
  bool remove_old = true;             // false: every older checkpoint stays
  std::string program = {};           // version of the program that writes it
};
void save_snapshot(Session& session, const RunDir& dir, const LogLengths& lengths,
                   const SnapshotOptions& options);

struct Resumed {
  std::unique_ptr<Session> session;
  LogLengths log_lengths;
  bool found = false;    // false: no complete checkpoint; the session is a fresh one
  bool changed = false;  // the checkpoint tells of other settings or another model than the session has
  std::optional<double> metric = {};  // value of checkpoint.metric that the checkpoint holds
};

struct ResumeOptions {
  bool allow_change = false;
  std::string program = {};  // version of the one that runs
};

// Opens the newest complete checkpoint; what an interrupted writer left is removed and said. Warns where
// program, threads or instruction set are others, which costs bit-exactness. Errors: kConfig where `config`
// computes something else than the checkpoint's run and allow_change is not set (each difference is named);
// kData for a checkpoint of another model or a damaged one, or where the weights at model.path are others and
// allow_change is not set.
Resumed resume_session(const RunDir& dir, const config::RunConfig& config, const ResumeOptions& options);

}  // namespace pan::train
