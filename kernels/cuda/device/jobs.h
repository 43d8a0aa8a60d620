// What the device kernels are told: plain structs, launch geometry, names of the entries.
//
// A launcher includes the kernel's header (row_stats.h, band.h, fai.h, anchor.h, decode.h, logprob.h), wraps
// an entry into a __global__ function and launches it:
//
//   template <class T, int kD, unsigned kWanted>
//   __global__ void __launch_bounds__(kThreads, row_stats_min_blocks<T, kD>())
//   row_stats_kernel(const __grid_constant__ RowStatsJob job) { row_stats_block<T, kD, kWanted>(job); }
//
// All pointers are device memory. Element types T: float, Bf16, Fp16. kD: the head size rounded up to one of
// 32, 64, 80, 96, 128, 256; a smaller head_size is padded with zeros inside the kernels (head_size must be a
// multiple of 16 bytes / sizeof(T)). ALIGNMENT: base pointers of q, k, v and every stride of theirs, in
// bytes, are multiples of 16 (asynchronous copies move 16 bytes); a launcher copies tensors that are not.
// Dynamic shared memory above 48 KB needs cudaFuncAttributeMaxDynamicSharedMemorySize; no launch
// takes more than kMaxSharedBytes. No kernel has static shared memory, none uses atomics: results are the
// same in every run.
//
// Positions t, s count inside a sequence; rows of packed tensors are sequence_begin + t.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define PAN_ANYWHERE __host__ __device__
#else
#define PAN_ANYWHERE
#endif

namespace pan::kernels::device {

struct Bf16 {
  uint16_t bits;
};
struct Fp16 {
  uint16_t bits;
};

constexpr int kThreads = 128;  // of every block except logprob's
constexpr int kWarps = kThreads / 32;
constexpr int kLogprobThreads = 256;
constexpr int kMaxGridY = 65535;                // blocks in the second and third dimension of a grid
constexpr size_t kMaxSharedBytes = 163 * 1024;  // of a block on sm_80; every launch is checked against it

// A [N, heads, D] tensor, last dimension contiguous; strides in elements.
struct Packed {
  const void* data;
  int64_t stride_token;
  int64_t stride_head;
};

struct Heads {
  Packed q;
  Packed k;
  int32_t head_size;
  int32_t group;     // query heads per key head
  float scale_log2;  // scale * log2(e), not negative
};

// ---- tiles ----
// Elements of a row of a tile in shared memory: 16 bytes of padding keep eight rows in different banks.
template <class T, int kD>
PAN_ANYWHERE constexpr int tile_stride() {
  return kD + 16 / static_cast<int>(sizeof(T));
}
template <class T, int kD>
PAN_ANYWHERE constexpr size_t tile_bytes(int rows) {
  return static_cast<size_t>(rows) * static_cast<size_t>(tile_stride<T, kD>()) * sizeof(T);
}

// ---- row_stats.h: row_stats_block<T, kD, kWanted>(const RowStatsJob&) ----
enum Statistic : int {
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

// Which moment sums a launch carries; lse and sink_mass need none. A superset of what the outputs need is
// right too, so not every combination has to be instantiated.
enum Wanted : unsigned { kWantV = 1 /* entropies */, kWantG = 2 /* distances */, kWantW = 4 /* waad */ };

// A query head to compute and the row of `out` that its results go to.
struct HeadSlot {
  int32_t head;
  int32_t out_row;
};

// Query rows of a block are pairs (position, slot): row r is slot slot_begin + r % slot_count at position
// t_begin + r / slot_count, so heads of a group share every key tile. All heads of a task read the same key
// head; (t_end - t_begin) * slot_count <= row_stats_rows<T, kD>().
struct RowsTask {
  int32_t sequence_begin;  // first packed token of the sequence
  int32_t t_begin;
  int32_t t_end;
  int32_t slot_begin;
  int32_t slot_count;
};

struct RowStatsJob {
  Heads heads;
  const RowsTask* tasks;  // [gridDim.x]; longest rows first
  const HeadSlot* slots;
  int64_t num_tokens;  // N, the stride of a row of `out`
  int32_t num_sink;
  int32_t waad_window;
  int32_t sliding_window;      // 0 = none
  float* out[kNumStatistics];  // [out rows, N] or null; rows that no task names are not written
};

PAN_ANYWHERE constexpr unsigned wanted_of(const RowStatsJob& job) {
  return (job.out[kEntropy] != nullptr || job.out[kNormEntropy] != nullptr ? kWantV : 0u) |
         (job.out[kDistance] != nullptr || job.out[kDistanceNs] != nullptr ? kWantG : 0u) |
         (job.out[kWaad] != nullptr ? kWantW : 0u);
}

// 16-row fragments of a warp, and keys of a tile.
template <class T, int kD>
PAN_ANYWHERE constexpr int row_stats_fragments() {
  return kD * static_cast<int>(sizeof(T)) <= 256 ? 2 : 1;
}
template <class T, int kD>
PAN_ANYWHERE constexpr int row_stats_keys() {
  return kD * static_cast<int>(sizeof(T)) <= 512 ? 64 : 32;
}
template <class T, int kD>
PAN_ANYWHERE constexpr int row_stats_rows() {  // of a block
  return kWarps * 16 * row_stats_fragments<T, kD>();
}
// Chosen heads of a group that one task takes, and its positions: host code cuts [first_row, length) into
// pieces of row_stats_positions, and the slots of every key head into pieces of row_stats_heads.
PAN_ANYWHERE constexpr int row_stats_heads(int chosen) { return chosen < 16 ? chosen : 16; }
template <class T, int kD>
PAN_ANYWHERE constexpr int row_stats_positions(int chosen) {
  return row_stats_rows<T, kD>() / row_stats_heads(chosen);
}
// Launch: grid = number of tasks, block = kThreads.
template <class T, int kD>
PAN_ANYWHERE constexpr size_t row_stats_shared_bytes() {
  // The queries, two key tiles, the sink keys' five sums of every row of every thread.
  return tile_bytes<T, kD>(row_stats_rows<T, kD>()) + 2 * tile_bytes<T, kD>(row_stats_keys<T, kD>()) +
         static_cast<size_t>(kThreads * row_stats_fragments<T, kD>() * 2 * 5) * sizeof(float);
}
template <class T, int kD>
PAN_ANYWHERE constexpr int row_stats_min_blocks() {  // for __launch_bounds__
  // Three blocks leave a thread 168 registers, which is too few from 128 bytes a row on: it spills.
  return kD * static_cast<int>(sizeof(T)) < 128 ? 3 : 2;
}

// ---- band.h: band_block<T, kD>(const BandJob&) ----
constexpr int kTileRows = 64;  // rows and keys of a block of band, fai, anchor

struct BandTask {
  int32_t sequence_begin;
  int32_t t_begin;
  int32_t t_end;  // at most kTileRows rows
};

struct BandJob {
  Heads heads;
  const BandTask* tasks;  // [gridDim.x]
  int64_t num_tokens;
  int32_t num_heads;
  int32_t lo;
  int32_t hi;
  int32_t sliding_window;
  const float* lse;           // [H, N]
  const float* head_weights;  // [H]; a head of weight 0 is skipped
  float* out;                 // [N, hi - lo + 1]; every entry of the tasks' rows is written
};
// Launch: grid = (number of tasks, band_key_tiles(lo, hi)), block = kThreads.
PAN_ANYWHERE constexpr int band_key_tiles(int lo, int hi) {
  return (kTileRows - 1 + hi - lo + 1 + kTileRows - 1) / kTileRows;
}
template <class T, int kD>
PAN_ANYWHERE constexpr int band_stages() {
  return 2 * tile_bytes<T, kD>(2 * kTileRows) <= 160 * 1024 ? 2 : 1;
}
template <class T, int kD>
PAN_ANYWHERE constexpr size_t band_shared_bytes() {
  return static_cast<size_t>(band_stages<T, kD>()) * tile_bytes<T, kD>(2 * kTileRows);
}

// ---- fai.h: fai_block<T, kD>(const FaiJob&) ----
struct FaiTask {
  int32_t sequence_begin;
  int32_t length;     // of the sequence
  int32_t first_row;  // rows before it do not count
  int32_t s_begin;
  int32_t s_end;  // at most kTileRows keys
};

struct FaiJob {
  Heads heads;
  const FaiTask* tasks;  // [gridDim.x]
  int64_t num_tokens;
  int32_t lo;
  int32_t hi;
  int32_t sliding_window;
  const float* lse;  // [H, N]
  float* out;        // [H, N]
};
// Launch: grid = (number of tasks, H), block = kThreads. The same tiles serve anchor_mass.
template <class T, int kD>
PAN_ANYWHERE constexpr int stream_stages() {
  return tile_bytes<T, kD>(3 * kTileRows) <= 159 * 1024 ? 2 : 1;
}
template <class T, int kD>
PAN_ANYWHERE constexpr size_t fai_shared_bytes() {
  return tile_bytes<T, kD>((1 + stream_stages<T, kD>()) * kTileRows);
}

// ---- anchor.h: anchor_block<T, kD>(const AnchorJob&) ----
struct AnchorTask {
  int32_t sequence_begin;
  int32_t t_begin;
  int32_t t_end;         // at most kTileRows rows, all of one step
  int32_t anchor_begin;  // into `anchors`
  int32_t num_anchors;   // >= 1
};

struct AnchorJob {
  Heads heads;
  const AnchorTask* tasks;  // [gridDim.x]
  const int32_t* anchors;   // key positions inside the sequences, of all steps end to end
  const int32_t* head_of;   // [gridDim.y] query heads
  int64_t num_tokens;
  int32_t sliding_window;
  const float* lse_ns;  // [H, N]
  float* out;           // [gridDim.y, N]; zeroed by the caller, rows of tasks are written
};
// Launch: grid = (number of tasks, number of heads), block = kThreads.
template <class T, int kD>
PAN_ANYWHERE constexpr size_t anchor_shared_bytes() {
  return tile_bytes<T, kD>((1 + stream_stages<T, kD>()) * kTileRows);
}

// ---- decode.h: decode_block<T, kD, kG>(const DecodeJob&), decode_merge_block<T>(const DecodeJob&) ----
// A row's keys are cut into splits of kDecodeSplit, whatever the batch; a block takes one split, one row and
// kG query heads of one key head. With one split it writes the result; with more the parts are merged by a
// second launch.
constexpr int kDecodeSplit = 256;
struct DecodeRow {
  int64_t k_offset;  // elements from `k` to the first key of key head 0 to look at
  int64_t v_offset;
  int32_t length;  // keys to look at, >= 1
};

struct DecodeJob {
  const void* q;  // [rows, H, D]
  const void* k;
  const void* v;
  void* out;              // [rows, H, D]
  const DecodeRow* rows;  // [gridDim.z]
  int64_t q_stride_row, q_stride_head;
  int64_t k_stride_head, k_stride_token;
  int64_t v_stride_head, v_stride_token;
  int64_t out_stride_row, out_stride_head;
  int32_t head_size;
  int32_t group;
  int32_t num_heads;   // H
  int32_t num_splits;  // decode_splits(longest length)
  float scale_log2;
  float* partial;  // [rows, H, num_splits, head_size + 2]; null where num_splits == 1
};
PAN_ANYWHERE constexpr int decode_splits(int max_length) {
  return (max_length + kDecodeSplit - 1) / kDecodeSplit;
}
// kG: 1, 2, 4 or 8, the largest that the group fills: decode_heads(group).
PAN_ANYWHERE constexpr int decode_heads(int group) { return group >= 5 ? 8 : (group >= 3 ? 4 : group); }
PAN_ANYWHERE constexpr int decode_head_pieces(int group) {
  return (group + decode_heads(group) - 1) / decode_heads(group);
}
// Launch: grid = (num_splits, Hkv * decode_head_pieces(group), rows), block = kThreads; then, where
// num_splits > 1, decode_merge_block: grid = (H, rows), block = kThreads, no shared memory.
template <class T, int kD>
PAN_ANYWHERE constexpr int decode_keys() {  // of a tile
  return kD * static_cast<int>(sizeof(T)) <= 128 ? 64 : 32;
}
template <class T, int kD, int kG>
PAN_ANYWHERE constexpr size_t decode_shared_bytes() {
  // Two tiles of keys and of values, queries, probabilities, one factor per head.
  return 4 * tile_bytes<T, kD>(decode_keys<T, kD>()) +
         static_cast<size_t>(kG * (kD + decode_keys<T, kD>() + 8)) * sizeof(float);
}

// ---- logprob.h: logprob_reduce_block<T>, logprob_finish_block, logprob_gradient_block<T, Out> ----
// A chunk of logits [rows, columns] of the vocabulary's columns [v_begin, v_begin + columns); the sums of a
// row are carried from chunk to chunk in `state`.
struct LogprobReduceJob {
  const void* logits;  // T: float, Bf16 or Fp16; any alignment
  int64_t stride;      // of a row, in elements
  int64_t v_begin;
  int32_t columns;
  int32_t first;           // not 0: `state` is written, not read
  float scale_log2;        // log2(e) / temperature
  const int64_t* targets;  // [gridDim.x]
  float* state;            // [4, gridDim.x]: maximum (log2), sum, spread, score of the target (log2)
};
// Launch: grid = rows, block = kLogprobThreads.
PAN_ANYWHERE constexpr size_t logprob_reduce_shared_bytes() {
  return kLogprobThreads / 32 * 3 * sizeof(float);
}

struct LogprobFinishJob {
  const float* state;  // [4, rows]
  int32_t rows;
  float* logprob;  // [rows], or null; the same for the others
  float* entropy;
  float* lse;
};
// Launch: grid = ceil(rows / kLogprobThreads), block = kLogprobThreads, no shared memory.

// out = gradient of sum(grad_logprob * logprob + grad_entropy * entropy) with respect to the logits before
// the temperature. `out` may be `logits` where the types agree.
struct LogprobGradientJob {
  const void* logits;  // T
  void* out;           // Out: float, Bf16 or Fp16
  int64_t stride;      // of a row of logits, in elements
  int64_t out_stride;
  int64_t v_begin;
  int32_t columns;
  float scale_log2;                                          // log2(e) / temperature
  float inverse_temperature;                                 // the result is multiplied by it
  const int64_t* targets;                                    // [gridDim.y]
  const float *lse, *entropy, *grad_logprob, *grad_entropy;  // [gridDim.y]; lse, entropy as finished
};
// Launch: grid = (logprob_gradient_blocks(columns), rows), block = kLogprobThreads, no shared memory.
constexpr int kGradientColumns = kLogprobThreads * 8;  // of a block
PAN_ANYWHERE constexpr int logprob_gradient_blocks(int columns) {
  return (columns + kGradientColumns - 1) / kGradientColumns;
}

}  // namespace pan::kernels::device
