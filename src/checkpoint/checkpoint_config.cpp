#include "checkpoint/checkpoint_config.h"

namespace pan::checkpoint {

void describe(core::Fields& f, CheckpointConfig& c) {
  f.integer("every", c.every,
            {.min = 0,
             .unit = "iteration",
             .doc = "Writes a checkpoint after every n-th iteration, and always at the end and on a signal. "
                    "0 = only then."});
  f.integer("keep_last", c.keep_last, {.min = 1, .unit = "checkpoint", .doc = "Newest checkpoints to keep."});
  f.integer("keep_best", c.keep_best,
            {.min = 0, .unit = "checkpoint", .doc = "Best checkpoints by `metric` to keep besides."});
  f.text("metric", c.metric,
         {.doc = "Key of the metric that decides what is best; evaluation metrics carry the prefix eval/."});
  f.choice("better", c.better, {{"higher", Better::kHigher}, {"lower", Better::kLower}},
           "Which direction of the metric is better.");
}

}  // namespace pan::checkpoint
