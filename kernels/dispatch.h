// The device implementations behind the checked entries of dispatch.cpp. Nothing else calls them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/logprob_entropy.h"

namespace pan::kernels {

// Arguments have been checked; `scale` has been resolved, first_row has B entries.
namespace cpu {
RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options);
at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window);
at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window);
at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window);
LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options);
void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window);
}  // namespace cpu

// The same for tensors on a GPU, on its current stream (kernels/cuda/, or kernels/cuda_stub.cpp in a build
// without CUDA).
namespace cuda {
bool is_built();
RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options);
at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window);
at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window);
at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window);
LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options);
void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window);
}  // namespace cuda

}  // namespace pan::kernels
