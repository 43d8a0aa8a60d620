// What train() does before its first iteration: a run's folder, models, tokenizer, data and logs.
#pragma once

#include "train/memory_plan.h"
#include "train/run_dir.h"
#include "train/snapshot.h"
#include "train/trainer.h"

namespace pan::train {

struct OpenedRun {
  RunDir dir;
  Resumed resumed;  // of a new run as of one without a checkpoint
};

// A new run's folder is made last: whatever is wrong with model, tokenizer and data leaves no trace. Errors:
// those of the parts; kIo where the checkpoints do not fit on the disk. A plan beyond the memory is a
// warning.
OpenedRun open_run(const TrainRequest& request);

ModelSizes sizes_of(const Session& session);

}  // namespace pan::train
