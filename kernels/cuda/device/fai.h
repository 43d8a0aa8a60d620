// Column means of the map per head (docs/rhythm.md, section 3): here the keys of a block stand still and the
// rows that look at them pass by.
#pragma once

#include "tiles.h"

namespace pan::kernels::device {

template <class T, int kD>
PAN_DEVICE void fai_block(const FaiJob& job) {
  constexpr int kN = kTileRows / 8, kStages = stream_stages<T, kD>();
  const FaiTask task = job.tasks[block_x()];
  const int head = block_y();
  const Heads& h = job.heads;
  const size_t tile = tile_bytes<T, kD>(kTileRows);
  const int lo = min_of(job.lo, task.length), hi = min_of(job.hi, task.length);  // no sum overflows
  const int reach = job.sliding_window > 0 ? min_of(hi, job.sliding_window - 1) : hi;
  const int t_begin = max_of(task.first_row, task.s_begin + lo);
  const int t_end = min_of(task.length, task.s_end + reach);
  const float* lse = job.lse + head * job.num_tokens + task.sequence_begin;
  float* out = job.out + head * job.num_tokens + task.sequence_begin;
  RowStream<T, kD, kTileRows> stream(row_at<T>(h.q, task.sequence_begin + t_begin, head), h.q.stride_token);
  auto load_rows = [&](int t, int stage) {
    stream.load(shared_at<T>(static_cast<size_t>(1 + stage) * tile), t_end - t, h.head_size);
    commit_copies();
  };
  const int key = task.s_begin + warp_index() * 16 + quad_row();
  float sum[2] = {0.0f, 0.0f};
  if (t_begin < t_end) {
    load_tile<T, kD, kTileRows>(shared_at<T>(0), h.head_size, h.k.data, [&](int r) {
      const int s = task.s_begin + r;
      return s < task.s_end ? row_at<T>(h.k, task.sequence_begin + s, head / h.group) : nullptr;
    });
    load_rows(t_begin, 0);
    wait_copies<0>();
    sync_block();
    const Left<T, kD, 1> left = left_of<T, kD, 1>(shared_at<T>(0));
    int stage = 0;
    PAN_NO_UNROLL
    for (int t0 = t_begin; t0 < t_end; t0 += kTileRows) {
      wait_copies<0>();
      sync_block();
      const Shared<T> rows = shared_at<T>(static_cast<size_t>(1 + stage) * tile);
      if (kStages == 2) {
        stage ^= 1;
        if (t0 + kTileRows < t_end) load_rows(t0 + kTileRows, stage);
      }
      float acc[1][kN][4];
      multiply<T, kD, 1, kN>(acc, left, rows);
      PAN_UNROLL
      for (int i = 0; i < 2 * kN; ++i) {
        const int t = t0 + i / 2 * 8 + 2 * quad_column() + i % 2;
        const float row_lse = t < t_end ? lse[t] * kLog2E : 0.0f;
        PAN_UNROLL
        for (int half = 0; half < 2; ++half) {
          const int distance = t - (key + 8 * half);
          const bool inside = t < t_end && distance >= lo && distance <= reach;
          sum[half] +=
              exp2_fast(inside ? mul_add(acc[0][i / 2][2 * half + i % 2], h.scale_log2, -row_lse) : kNoScore);
        }
      }
      if (kStages == 1) {
        sync_block();
        if (t0 + kTileRows < t_end) load_rows(t0 + kTileRows, 0);
      }
    }
  }
  PAN_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float total = quad_sum(sum[half]);
    const int s = key + 8 * half;
    if (quad_column() != 0 || s >= task.s_end) continue;
    const int rows = min_of(task.length - 1, s + hi) - max_of(task.first_row, s + lo) + 1;
    out[s] = rows > 0 ? total / static_cast<float>(rows) : 0.0f;
  }
}

}  // namespace pan::kernels::device
