// The files of a run that grow: metrics.jsonl, rollouts.jsonl and TensorBoard events. A checkpoint records
// their lengths; a resume cuts them back to it, so that no line is doubled.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/json.h"
#include "metrics/jsonl.h"
#include "metrics/metric.h"
#include "metrics/tensorboard.h"
#include "train/iteration.h"
#include "train/run_dir.h"
#include "train/session.h"

namespace pan::train {

struct LogLengths {
  uint64_t metrics = 0, rollouts = 0, events = 0;  // byte
  std::optional<uint64_t> text;                    // of log.txt; not in checkpoints of older versions
  core::Json to_json() const;
  static LogLengths from_json(const core::Json& json, const std::string& source);
};

// How long the newest iteration and evaluation of a log took; 0 where there is none.
struct LoggedTimes {
  double iteration_s = 0, evaluation_s = 0;
};
LoggedTimes newest_times(const std::string& metrics_path);

// Takes the lines out of log.txt that were written between a checkpoint, when it was `recorded` bytes long,
// and the end of the process before this one (`before` bytes): the work they tell of is done again. Errors
// among them stay. Errors: kIo.
void cut_text_log(const std::string& path, uint64_t recorded, uint64_t before);

class RunLogs {
 public:
  // Cuts the files back to `lengths` and opens them. Errors: kData when a file is shorter; kIo.
  RunLogs(const RunDir& dir, bool tensorboard, const LogLengths& lengths);

  void iteration(const Session& session, const Iteration& iteration);  // metrics and rollouts
  void evaluation(int64_t iteration, const metrics::Values& values);
  // Prints one answer of the iteration with its rewards.
  void show_sample(const Session& session, const Iteration& iteration) const;

  LogLengths sync();  // on the device; the lengths to record

 private:
  metrics::JsonlWriter metrics_, rollouts_;
  std::unique_ptr<metrics::EventWriter> events_;
};

}  // namespace pan::train
