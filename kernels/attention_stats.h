// Statistics of causal attention rows from queries and keys alone, without ever holding a T x T map.
//
//   auto out = kernels::row_stats(q, k, cu_seqlens, options);       // q [N,H,D], k [N,Hkv,D], packed
//   sequences auto band = kernels::attention_band(q, k, out.lse, cu_seqlens, scale, 10, 100, head_weights);
//
// Notation: N tokens of all sequences laid end to end (packed), B sequences with boundaries cu_seqlens, H
// query heads, Hkv key heads (H % Hkv == 0; query head h reads key head h / (H / Hkv)), D head size, S[t,s] =
// scale * <q_t, k_s>, A[t,s] = softmax over the visible keys s <= t of the same sequence. Positions t, s
// count inside a sequence. All results are float32 whatever the type of q and k (float32, bfloat16, float16);
// accumulation is float32 or wider. Results do not depend on the number of threads, on the other sequences of
// the batch, or (CUDA) on scheduling. Errors: c10::ValueError by TORCH_CHECK_VALUE for wrong shapes, types
// and devices; callers validate first. Every function takes some of the heads by indexing, without copying q
// or k: row_stats and anchor_mass by a list of heads, attention_band by weights of 0; attention_fai alone
// gives all of them. The formulas are those of docs/rhythm.md, section 2 (cancellation-free
// sums).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace pan::kernels {

// Queries and keys after the rotary embedding of one attention layer for a packed batch: what a tap hands
// over.
struct LayerQk {
  int64_t layer = 0;           // index in the model
  at::Tensor q;                // [N, H, D]
  at::Tensor k;                // [N, Hkv, D]
  double scale = 0;            // of the scores
  int64_t sliding_window = 0;  // 0 = full attention
};

// Which statistics to compute; what is not asked for costs nothing and comes back undefined.
struct RowStatsSelect {
  bool lse = true;  // lse and lse_ns
  bool entropy = true;
  bool norm_entropy = true;
  bool distance = true;
  bool distance_ns = true;
  bool waad = true;
  bool sink_mass = true;
};

struct RowStatsOptions {
  double scale = 0;            // of the scores; 0 = 1/sqrt(D)
  int64_t num_sink = 1;        // leading positions of each sequence that are attention sinks, >= 0
  int64_t waad_window = 10;    // W, >= 1
  int64_t sliding_window = 0;  // visible keys: t - s < sliding_window; 0 = all
  RowStatsSelect select = {};
  // First row to compute of each sequence ([B] int64 on the host, e.g. prompt lengths); empty = all rows.
  // Rows before it come back as 0.
  std::vector<int64_t> first_row = {};
  // Query heads to compute, in the order of the results, any and any number of them; empty = all. The others
  // cost nothing; q and k stay whole and head h reads key head h / (H / Hkv).
  std::vector<int64_t> heads = {};
};

// Each [heads, N] float32 (heads = H where none are chosen), or undefined where not selected.
struct RowStats {
  at::Tensor lse;      // nat: ln sum exp(S) over all visible keys
  at::Tensor lse_ns;   // nat: over the non-sink keys; -inf where there are none
  at::Tensor entropy;  // nat: -sum A ln A
  at::Tensor
      norm_entropy;     // 0..1: entropy over the non-sink keys / ln(their number); 0 where that number is < 2
  at::Tensor distance;  // token: sum A (t - s)
  at::Tensor distance_ns;  // token: the same, renormalised over non-sink keys; 0 where there are none
  at::Tensor waad;         // token: sum A min(t - s, W)
  at::Tensor sink_mass;    // 0..1: sum of A over sink keys
};

// q [N, H, D], k [N, Hkv, D]: the last dimension contiguous; cu_seqlens: B + 1 increasing host integers,
// first 0, last N. Cost: N^2 H D / B multiplications, half of an attention forward; memory: the outputs and
// O(threads * tile). On a GPU D is at most 256, and the tasks are copied there.
RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options);

// The same for padded tensors: q [B, H, T, D], k [B, Hkv, T, D], positions [0, lengths[b]) of sequence b are
// real, the others are never read and come back as 0. Results are [B, heads, T]. Copies the real tokens into
// one packed tensor each of q and k; work that is packed anyway calls row_stats.
RowStats row_stats_padded(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& lengths,
                          const RowStatsOptions& options);

// The band of docs/rhythm.md section 3: result[n, j] = sum_h head_weights[h] * A_h[t, t - (lo + j)], 0 where
// t - lo - j < 0. lse: [H, N] float32 of the same q, k, scale. head_weights: [H] float32 (0 = head is skipped
// and costs nothing). Returns [N, hi - lo + 1] float32.
at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window = 0);

// Per-head form: fai[h, s] = mean of A_h[t, s] over rows t of [first_row, N_b) with s + lo <= t <= s + hi; 0
// where that set is empty. first_row: [B] (empty = 0). Returns [H, N] float32.
at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window = 0);

// Anchor mass: result[i, n] = sum over s in anchors(step of token n) of exp(S_h[t, s] - lse_ns[h, t]) with h
// = heads[i]. step_of: [N] int64 host, index into `anchors` for each token, -1 = no step (result 0). anchors:
// per step, key positions inside its sequence (increasing; all < the step's first position). heads: query
// heads to compute. Returns [heads, N] float32.
at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window = 0);

}  // namespace pan::kernels
