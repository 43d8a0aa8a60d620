// Token sequences laid end to end; there is no padding anywhere in pan-ppo.
//
//   model::Batch b = model::pack({{1, 2, 3}, {4, 5}}, at::kCPU);   // tokens [5], cu_seqlens {0, 3, 5}
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pan::model {

struct Batch {
  at::Tensor tokens;                // [N] int64
  at::Tensor positions;             // [N] int64, position inside the sequence
  std::vector<int64_t> cu_seqlens;  // [B + 1], host

  int64_t num_tokens() const { return cu_seqlens.empty() ? 0 : cu_seqlens.back(); }
  int64_t num_sequences() const {
    return cu_seqlens.empty() ? 0 : static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
};

// Sequences must not be empty.
Batch pack(const std::vector<std::vector<int64_t>>& sequences, at::Device device);

}  // namespace pan::model
