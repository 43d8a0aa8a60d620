// Log-probability of given tokens and entropy of their distribution, from hidden states and the output
// matrix, tile by tile, so that the [tokens, V] logits never exist.
//
//   auto out = kernels::logprob_entropy(hidden, weight, targets, {.temperature = 1.0});
//   out.logprob.sum().backward();      // gradients to hidden and weight
//
// logits = hidden @ weight^T / temperature, in float32 whatever the type of the inputs (products of bfloat16
// inputs are accumulated in float32 and kept in float32). logprob = ln softmax(logits)[target]; entropy =
// -sum p ln p (nat). Values depend on nothing but the row itself, bit for bit: not on other rows, threads or
// chunk_bytes. Gradients depend on chunk_bytes by float rounding only. Gradients of bfloat16 inputs: where
// the processor multiplies bfloat16 pairs, the gradient of the logits is rounded to bfloat16 before the two
// products, as a plain bfloat16 backward pass rounds it; all sums are float32.
//
// On a GPU the logits of 512 rows by 8192 tokens exist at a time, products by cuBLAS with float32 results,
// reduced before the next tile; the forward's working memory is 16 MB whatever chunk_bytes says, float32
// inputs need TF32 to be off (ATen's default), and float16 gradients are made in float32. The targets are
// checked on the host, which waits for them, unless the caller vouches for them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pan::kernels {

struct LogprobOptions {
  double temperature = 1.0;        // > 0
  int64_t chunk_bytes = 64 << 20;  // upper bound of the working memory (at least one panel of rows is taken)
  bool entropy_gradient =
      false;  // entropy takes part in autograd (otherwise it is detached, and backward is cheaper)
  // The caller vouches for targets in [0, V), and a GPU is not waited for to check them; the values of a row
  // whose target is not are undefined.
  bool targets_in_range = false;
};

struct LogprobEntropy {
  at::Tensor logprob;  // [N] float32
  at::Tensor entropy;  // [N] float32
};

// hidden [N, C], weight [V, C] (same type and device), targets [N] int64 in [0, V). Differentiable in hidden
// and weight (custom autograd function; backward recomputes the chunk's logits). Errors: c10::ValueError.
LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options);

}  // namespace pan::kernels
