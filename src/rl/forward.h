// The forward of one micro-batch, used by the scorer and the update alike: the same operations on the same
// packing give the same bits, which is what makes the first minibatch's ratio exactly 1.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/logprob_entropy.h"
#include "model/attention_tap.h"
#include "model/batch.h"
#include "model/decoder.h"
#include "rl/plan.h"
#include "rl/sequence.h"

namespace pan::rl {

struct PackedRows {
  model::Batch batch;
  at::Tensor rows;               // [n] int64: row t-1 of each response token t
  at::Tensor targets;            // [n] int64: the response tokens
  std::vector<int64_t> offsets;  // [b + 1] of the micro-batch's sequences in [n]
};

PackedRows pack_rows(const std::vector<TrainSequence>& sequences, const MicroBatch& micro, at::Device device);

// Hidden states of the response rows [n, C].
at::Tensor response_hidden(const model::Decoder& decoder, const PackedRows& packed,
                           const model::AttentionTap* tap = nullptr);

// Log-probabilities and entropies of the response tokens [n].
kernels::LogprobEntropy response_logprobs(const model::Decoder& decoder, const at::Tensor& hidden,
                                          const PackedRows& packed, double temperature,
                                          bool entropy_gradient = false);

// The micro-batch's part of a tensor in flat response layout, in packing order, on `device`; undefined stays
// undefined.
at::Tensor gather(const at::Tensor& flat, const std::vector<int64_t>& offsets, const MicroBatch& micro,
                  at::Device device);

}  // namespace pan::rl
