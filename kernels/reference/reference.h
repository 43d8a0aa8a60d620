// The kernels once more in float64 and plain loops, straight from the definitions of docs/rhythm.md; linked
// into tests only.
//
// Inputs of any floating type are widened to float64 first. Shapes and arguments are those of
// kernels/attention_stats.h, kernels/logprob_entropy.h and kernels/decode_attention.h; nothing is checked.
// All results are float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/attention_stats.h"

namespace pan::kernels::reference {

// scale must be resolved (> 0), first_row have one entry per sequence. Every statistic is filled in.
RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options);

// A_h[t, s] is exp(S - lse) with lse computed here, in float64.
at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                          double scale, int64_t lo, int64_t hi, const at::Tensor& head_weights,
                          int64_t sliding_window);
at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                         double scale, int64_t lo, int64_t hi, const std::vector<int64_t>& first_row,
                         int64_t sliding_window);
// lse_ns over the keys from num_sink on.
at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                       double scale, int64_t num_sink, const std::vector<int64_t>& step_of,
                       const std::vector<std::vector<int64_t>>& anchors, const std::vector<int64_t>& heads,
                       int64_t sliding_window);

struct LogprobGradients {
  at::Tensor logprob;      // [N]
  at::Tensor entropy;      // [N]
  at::Tensor grad_hidden;  // [N, C] of sum(grad_logprob * logprob + grad_entropy * entropy)
  at::Tensor grad_weight;  // [V, C]
};
LogprobGradients logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight,
                                 const at::Tensor& targets, double temperature,
                                 const at::Tensor& grad_logprob, const at::Tensor& grad_entropy);

at::Tensor decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                            const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths,
                            double scale, int64_t sliding_window);

}  // namespace pan::kernels::reference
