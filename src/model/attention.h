// Causal attention over packed sequences (scoring, training) and over the cache (sampling). Grouped query
// heads: query head h reads key head h / (H / Hkv).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pan::model {

// q [N, H, D], k and v [N, Hkv, D] -> [N, H D]; every sequence by itself. Differentiable.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& cu_seqlens, double scale);

// One query per sequence: q [B, H, D] against the first lengths[i] positions of row slots[i] of keys and
// values [slots, Hkv, max, D] -> [B, H D]. Not differentiable.
at::Tensor cached_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            double scale);

}  // namespace pan::model
