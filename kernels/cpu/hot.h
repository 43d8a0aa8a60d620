// The hot loops: what is compiled once per instruction set (isa_*.cpp) and called through a table of functions.
//
// Plain data only: this header is read by files compiled with AVX-512 and must not define inline functions.
// A job describes the whole call; a task is one independent piece of it with its own outputs, so results do not depend on how
// tasks are spread over threads.
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
  int64_t group;      // query heads per key head
  float scale_log2;   // scale * log2(e): the kernels work with powers of two
};

enum Statistic { kLse, kLseNs, kEntropy, kNormEntropy, kDistance, kDistanceNs, kWaad, kSinkMass, kNumStatistics };

struct RowStatsJob {
  Heads heads;
  int64_t num_sink;
  int64_t waad_window;
  int64_t sliding_window;      // 0 = none
  int64_t num_tokens;          // N, the stride of a head in `out`
  float* out[kNumStatistics];  // [H, N] or null
};

// Rows [t_begin, t_end) of one sequence, all query heads of one key head.
struct RowsTask {
  int64_t sequence_begin;  // first packed token of the sequence
  int64_t t_begin;
  int64_t t_end;
  int64_t key_head;
};

struct HotKernels {
  // Rows that a task should have, for `group` query heads per key head.
  int64_t (*row_stats_rows)(int64_t group);
  size_t (*row_stats_scratch)(const RowStatsJob& job);  // bytes, 64-byte aligned memory
  void (*row_stats)(const RowStatsJob& job, const RowsTask& task, void* scratch);
};

// The table for active_isa().
const HotKernels& hot();

const HotKernels& hot_baseline();
const HotKernels& hot_avx2();
const HotKernels& hot_avx512();

}  // namespace pan::kernels::cpu
