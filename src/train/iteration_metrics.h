// The figures of an iteration that come from samples, rewards and times; keys of metrics/catalog.h.
#pragma once

#include "train/iteration.h"
#include "train/session.h"

namespace pan::train {

// Adds to iteration.metrics. The stages have added their own (losses, rhythm, advantages) before.
void collect_metrics(const Session& session, Iteration& iteration);

}  // namespace pan::train
