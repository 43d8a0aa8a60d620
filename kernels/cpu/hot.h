// The hot loops: what is compiled once per instruction set (isa_*.cpp) and called through a table of
// functions.
//
// Plain data only: this header is read by files compiled with AVX-512 and must not define inline functions.
// A job describes the whole call; a task is one independent piece of it with its own outputs, so results do
// not depend on how tasks are spread over threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pan::kernels::cpu {

enum class Type { float32, bfloat16, float16 };

// A [N, heads, D] tensor, last dimension contiguous; strides in elements.
struct Packed {
  const void* data;
  int64_t stride_token;
  int64_t stride_head;
};

// Queries and keys of a packed batch.
struct Heads {
  Packed q;
  Packed k;
  Type type;
  int64_t head_size;
  int64_t group;     // query heads per key head
  float scale_log2;  // scale * log2(e): the kernels work with powers of two
};

enum Statistic {
  kLse,
  kLseNs,
  kEntropy,
  kNormEntropy,
  kDistance,
  kDistanceNs,
  kWaad,
  kSinkMass,
  kNumStatistics
};

// A query head to compute and where its results go.
struct HeadSlot {
  int64_t head;
  int64_t out_row;
};

struct RowStatsJob {
  Heads heads;
  const HeadSlot* slots;  // the slots of one key head follow one another
  int64_t max_slots;      // of a task
  int64_t num_sink;
  int64_t waad_window;
  int64_t sliding_window;      // 0 = none
  int64_t num_tokens;          // N, the stride of a row of `out`
  float* out[kNumStatistics];  // [out rows, N] or null
};

// Rows [t_begin, t_end) of one sequence, slots [slot_begin, slot_end), all of one key head.
struct RowsTask {
  int64_t sequence_begin;  // first packed token of the sequence
  int64_t t_begin;
  int64_t t_end;
  int64_t slot_begin;
  int64_t slot_end;
};

// kernels/attention_stats.h: attention_band. One task: at most `panel_rows` rows of a sequence (slots
// unused).
struct BandJob {
  Heads heads;
  int64_t num_heads;
  int64_t num_tokens;
  int64_t lo;
  int64_t hi;
  int64_t sliding_window;
  const float* lse;           // [H, N]
  const float* head_weights;  // [H]
  float* out;                 // [N, hi - lo + 1], zero where no entry of the map is
};

// attention_fai. One task: at most `panel_rows` keys of a sequence, one query head.
struct FaiJob {
  Heads heads;
  int64_t num_tokens;
  int64_t lo;
  int64_t hi;
  int64_t sliding_window;
  const float* lse;  // [H, N]
  float* out;        // [H, N]
};
struct FaiTask {
  int64_t sequence_begin;
  int64_t length;     // of the sequence
  int64_t first_row;  // rows before it do not count
  int64_t s_begin;
  int64_t s_end;
  int64_t head;
};

// anchor_mass. One task: at most `panel_rows` rows of one step, one head.
struct AnchorJob {
  Heads heads;
  int64_t num_tokens;
  int64_t sliding_window;
  const float* lse_ns;  // [H, N]
  float* out;           // [selected heads, N]
};
struct AnchorTask {
  int64_t sequence_begin;
  int64_t t_begin;
  int64_t t_end;
  int64_t head;
  int64_t out_row;
  const int64_t* anchors;  // key positions inside the sequence
  int64_t num_anchors;
};

// kernels/decode_attention.h. One task: a row and a key head. Strides and offsets in elements.
struct DecodeJob {
  const void* q;
  const void* k;
  const void* v;
  void* out;
  Type type;
  int64_t head_size;
  int64_t group;
  float scale_log2;
  int64_t q_stride_row, q_stride_head;
  int64_t out_stride_row, out_stride_head;
  int64_t k_stride_token, v_stride_token;
  int64_t max_length;  // of a task, rounded up to a multiple of 16
};
struct DecodeTask {
  int64_t row;
  int64_t key_head;
  int64_t k_offset;  // of the first key and value to look at
  int64_t v_offset;
  int64_t length;
};

// kernels/logprob_entropy.h, a chunk of rows. Pack tasks: one per panel_rows rows; then sum tasks: one per
// `chunk` columns.
struct LogprobJob {
  const void* hidden;
  const void* weight;
  Type type;
  int64_t hidden_stride, weight_stride;  // in elements
  int64_t rows;
  int64_t size;      // C
  int64_t vocab;     // V
  int64_t chunk;     // columns of a task; fixed, so that results do not depend on the number of threads
  float scale_log2;  // log2(e) / temperature
  const int64_t* targets;
  float* packed;
  float* partial;       // [tasks, 3, rows]: maximum (log2), sum 2^(z - max), sum 2^(z - max) (max - z)
  float* target_score;  // [rows], log2
};

// The backward pass: rows of `forward` against columns [v_begin, v_end) of the vocabulary. Strides in
// elements.
struct LogprobBackwardJob {
  LogprobJob forward;  // rows, packed, targets and so on; partial and target_score are not used
  int64_t v_begin, v_end;
  bool narrow;  // the gradient of the logits is bfloat16, else float32
  const float *lse, *entropy, *grad_logprob, *grad_entropy;  // [rows]
  void* by_key;                                              // [columns, rows]: the gradient of the logits
  void* by_row;                                              // [rows, columns]: the same
  int64_t by_key_stride, by_row_stride;
  float* hidden_panels;  // panels of panel_rows elements of the hidden states, depth rows
  float* weight_panels;  // the same of the weights, depth columns
  int64_t hidden_panel_floats, weight_panel_floats;
  float* grad_weight;  // [columns, C], added to; null = not wanted
  float* grad_hidden;  // [rows, C], added to; null = not wanted
};

struct HotKernels {
  int64_t panel_rows;  // rows of a band, fai or anchor task
  int64_t key_tile;    // columns of a backward_gradient task
  // Rows that a task should have, for at most `slots` query heads of a key head.
  int64_t (*row_stats_rows)(int64_t slots);
  size_t (*row_stats_scratch)(const RowStatsJob& job);  // bytes, 64-byte aligned memory
  void (*row_stats)(const RowStatsJob& job, const RowsTask& task, void* scratch);
  size_t (*band_scratch)(const BandJob& job);
  void (*band)(const BandJob& job, const RowsTask& task, void* scratch);
  size_t (*fai_scratch)(const FaiJob& job);
  void (*fai)(const FaiJob& job, const FaiTask& task, void* scratch);
  size_t (*anchor_scratch)(const AnchorJob& job);
  void (*anchor)(const AnchorJob& job, const AnchorTask& task, void* scratch);
  size_t (*decode_scratch)(const DecodeJob& job);
  void (*decode)(const DecodeJob& job, const DecodeTask& task, void* scratch);
  int64_t (*logprob_packed_floats)(const LogprobJob& job, int64_t rows);
  void (*logprob_pack)(const LogprobJob& job, int64_t task);
  size_t (*logprob_scratch)(const LogprobJob& job);
  void (*logprob)(const LogprobJob& job, int64_t task, void* scratch);
  bool (*backward_is_narrow)(Type type, int64_t size);
  size_t (*backward_scratch)(const LogprobBackwardJob& job);
  void (*backward_pack_hidden)(const LogprobBackwardJob& job, int64_t element_panel);
  void (*backward_pack_weight)(const LogprobBackwardJob& job, int64_t element_panel);
  void (*backward_gradient)(const LogprobBackwardJob& job, int64_t tile, void* scratch);
  void (*backward_weight)(const LogprobBackwardJob& job, int64_t element_panel, int64_t begin, int64_t end,
                          void* scratch);
  void (*backward_hidden)(const LogprobBackwardJob& job, int64_t element_panel, int64_t begin, int64_t end,
                          void* scratch);
};

// The table for active_isa().
const HotKernels& hot();

const HotKernels& hot_baseline();
const HotKernels& hot_avx2();
const HotKernels& hot_avx512();
const HotKernels& hot_avx512_bf16();

}  // namespace pan::kernels::cpu
