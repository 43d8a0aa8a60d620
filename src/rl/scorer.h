// One forward pass of policy, reference and critic over finished sequences: everything the update needs to
// know about them under the weights that sampled them. The attention tap rides on the policy's pass.
//
//   rl::Scorer scorer({.policy = policy.get(), .reference = ref.get(), .critic = trunk.get(), .value_head =
//   &head}, {1.0}); rl::ScoredBatch scored = scorer.score(sequences, plan.scoring(), layers, [&](const
//   rl::Capture& c) { ... });
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/attention_stats.h"
#include "model/batch.h"
#include "model/decoder.h"
#include "model/value_model.h"
#include "rl/plan.h"
#include "rl/sequence.h"

namespace pan::rl {

// Null means absent. value_head without critic: the head sits on the policy's trunk. Not owned.
struct Models {
  model::Decoder* policy = nullptr;
  model::Decoder* reference = nullptr;
  model::Decoder* critic = nullptr;
  model::ValueHead* value_head = nullptr;
};

// What the tap saw of one micro-batch. Tensors live until the visitor returns.
struct Capture {
  const std::vector<TrainSequence>& all;        // every sequence of the pass
  const MicroBatch& sequences;                  // indices into `all`, in packing order
  const model::Batch& batch;                    // cu_seqlens of the packed tokens
  const std::vector<kernels::LayerQk>& layers;  // tapped layers, in order
};
using CaptureVisitor = std::function<void(const Capture&)>;

// Flat response layout (sequence.h), float32 on the CPU.
struct ScoredBatch {
  std::vector<int64_t> offsets;  // [B + 1]
  at::Tensor
      logprobs;  // [R] nat: ln p of each response token, untruncated softmax at the sampling temperature
  at::Tensor reference_logprobs;  // [R], undefined without a reference
  at::Tensor values;              // [R] V before each token (row t-1), undefined without a value head
  at::Tensor entropy;             // [R] nat: entropy of the distribution each token was drawn from (row t-1)

  int64_t num_sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t num_tokens() const { return offsets.back(); }
};

struct ScorerOptions {
  double temperature = 1.0;  // of the sampler
  // Called after each micro-batch with (done, total); returning false stops the pass: score throws
  // kInterrupted.
  std::function<bool(int64_t done, int64_t total)> progress;
};

class Scorer {
 public:
  Scorer(const Models& models, ScorerOptions options);

  // `plan` must name every sequence exactly once. An empty `layers` taps nothing; then `visitor` is not
  // called. Errors: kInternal for a plan that does not fit; kGuard where a log-probability or value is not
  // finite, with the sequence id.
  ScoredBatch score(const std::vector<TrainSequence>& sequences, const std::vector<MicroBatch>& plan,
                    const std::vector<int64_t>& layers = {}, const CaptureVisitor& visitor = nullptr) const;

  // The policy's trunk alone, for its attention (head-group calibration).
  void visit(const std::vector<TrainSequence>& sequences, const std::vector<MicroBatch>& plan,
             const std::vector<int64_t>& layers, const CaptureVisitor& visitor) const;

 private:
  Models models_;
  ScorerOptions options_;
};

// How far sampler and scorer disagree on the same tokens, over the sequences that carry sampler_logprobs: the
// keys training/rollout_probs_diff_{mean,max,std}, training/rollout_actor_probs_pearson_corr,
// rollout_corr/{kl,k3_kl,ratio_mean, ratio_max,ess} (ess: effective sample size of the weights over their
// number). Empty where none does.
Metrics sampler_mismatch(const std::vector<TrainSequence>& sequences, const ScoredBatch& scored);

}  // namespace pan::rl
