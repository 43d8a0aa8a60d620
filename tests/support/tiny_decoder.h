// The decoder of tests that need some decoder: grouped queries, tied embeddings, small enough for any loop.
#pragma once

#include <ATen/core/grad_mode.h>

#include "model/decoder.h"

namespace pan::testing {

inline model::Arch tiny_arch(int64_t vocab_size, int64_t max_positions) {
  model::Arch arch;
  arch.vocab_size = vocab_size;
  arch.hidden_size = 32;
  arch.intermediate_size = 48;
  arch.num_layers = 2;
  arch.num_heads = 4;
  arch.num_kv_heads = 2;
  arch.head_dim = 8;
  arch.max_positions = max_positions;
  arch.tied_embeddings = true;
  return arch;
}

// make_decoder's weights are small (0.02) and its distributions flat; scaled up, tokens depend on what came
// before.
inline void sharpen(const model::Decoder& decoder, double factor) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : decoder.parameters())
    if (tensor.dim() == 2) at::Tensor(tensor).mul_(factor);
}

}  // namespace pan::testing
