// The backward pass of kernels/logprob_entropy.h on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pan::kernels::cpu {

struct LogprobBackwardInputs {
  at::Tensor hidden, weight, targets;     // [N, C], [V, C], [N]: as in the forward pass
  at::Tensor lse, entropy;                // [N] float32, of the forward pass
  at::Tensor grad_logprob, grad_entropy;  // [N] float32, contiguous
  double temperature = 1.0;
  int64_t chunk_bytes = 0;
};

// Adds to nothing: returns the gradients asked for, in the type of the inputs; undefined where not.
struct LogprobInputGradients {
  at::Tensor hidden;  // [N, C]
  at::Tensor weight;  // [V, C]
};
LogprobInputGradients logprob_backward(const LogprobBackwardInputs& inputs, bool to_hidden, bool to_weight);

}  // namespace pan::kernels::cpu
