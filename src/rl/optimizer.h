// AdamW on float32 masters with gradient accumulation, clipping, a learning-rate schedule and a guard.
//
//   rl::Optimizer opt(decoder->parameters(), config.optimizer, total_steps);
//   loss.backward();  opt.accumulate();          // once per micro-batch
//   rl::StepReport r = opt.step();               // clips, guards, updates in place, clears the gradients
//
// A float32 parameter is its own master. A bfloat16 parameter has a float32 master and a float32 gradient
// sum; after a step it is refreshed in place by rounding. Update rule: Loshchilov & Hutter 2019, algorithm 2
// (as torch.optim.AdamW). Everything is deterministic for the same number of threads, and state() / load()
// continue bit for bit.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "dist/group.h"
#include "model/decoder.h"
#include "rl/rl_config.h"

namespace pan::rl {

// lr(n) / lr for the n-th step (from 0): (n + 1) / warmup below warmup_steps; then 1 (constant), or from 1 at
// step `warmup_steps` down to min_lr_ratio at step `total_steps` along a line or half a cosine, and
// min_lr_ratio from there on.
double schedule_factor(const OptimizerConfig& config, int64_t step, int64_t total_steps);

struct StepReport {
  bool applied = false;  // false: skipped because the gradient is not finite
  double grad_norm = 0;  // global L2 norm before clipping
  double lr = 0;
  std::string first_bad;  // name of the first tensor with a non-finite gradient
};

class Optimizer {
 public:
  // Sets requires_grad on every parameter. total_steps: length of the schedule (ignored by `constant`).
  Optimizer(model::NamedTensors parameters, const OptimizerConfig& config, int64_t total_steps,
            dist::Group& group = dist::single_process());

  void
  accumulate();  // moves .grad of every parameter into the sums (no-op for float32, where .grad is the sum)
  void zero();   // forgets what was accumulated
  StepReport step();  // sums over ranks, then guards, clips, updates
  void skip();        // forgets the gradients and counts a skipped step (loss not finite)

  double lr() const;                        // of the next step
  int64_t steps() const { return steps_; }  // applied
  int64_t skipped() const { return skipped_; }
  int64_t skipped_in_a_row() const { return skipped_in_a_row_; }

  const model::NamedTensors& parameters() const { return parameters_; }
  // float32 values by parameter name (the parameter itself where it is float32): what save_decoder takes.
  model::NamedTensors masters() const;

  // For checkpoints: tensors "exp_avg.<name>", "exp_avg_sq.<name>" and, for bfloat16, "master.<name>";
  // counters as JSON. Shared storage, not copies: write them before the next step.
  model::NamedTensors state_tensors() const;
  core::Json state() const;
  // Copies in place, masters are rounded into the parameters. Errors: kData: missing, unexpected (listed),
  // wrong shape or type.
  void load(const core::Json& state, const model::NamedTensors& tensors);

 private:
  at::Tensor& gradient(size_t i);
  double gradient_norm();

  model::NamedTensors parameters_;
  OptimizerConfig config_;
  int64_t total_steps_;
  dist::Group* group_;
  std::vector<at::Tensor> masters_;  // the parameter itself where float32
  std::vector<at::Tensor> sums_;     // float32 gradient sums; undefined where .grad is the sum
  std::vector<at::Tensor> exp_avg_, exp_avg_sq_;
  int64_t steps_ = 0, attempts_ = 0, skipped_ = 0, skipped_in_a_row_ = 0;
};

}  // namespace pan::rl
