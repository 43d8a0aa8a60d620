// Attention of one new token per sequence over a key/value cache: the inner step of token-by-token
// generation.
//
//   kernels::decode_attention(q, k_cache, v_cache, slots, lengths, scale, out);
//
// For row b and head h: out[b, h] = sum_j softmax_j(scale * <q[b, h], k[j]>) v[j] over the first lengths[b]
// cached positions of slot slots[b], with key/value head h / (H / Hkv). Scores, softmax and sums are float32
// whatever the type of the tensors; only the result is rounded to the type of `out`. Results of a row do not
// depend on the other rows or on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pan::kernels {

// q [B, H, D]; k_cache, v_cache [slots, Hkv, Tmax, D]; slots [B] and lengths [B] in host memory, 1 <=
// lengths[b] <= Tmax, 0 <= slots[b] < slots; out [B, H, D], written. All four tensors of one type (float32,
// bfloat16, float16) with a contiguous last dimension. scale 0 = 1/sqrt(D). sliding_window > 0: only the last
// `sliding_window` of those positions. Not differentiable. On a GPU: D at most 256, and caches whose D is not
// a multiple of 16 bytes are copied at every call. Errors: c10::ValueError.
void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window = 0);

}  // namespace pan::kernels
