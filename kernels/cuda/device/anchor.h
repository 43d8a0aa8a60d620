// Anchor mass: what the rows of a step give to its anchor keys, out of the non-sink keys (docs/rhythm.md,
// section 6). Anchor keys are gathered into tiles.
#pragma once

#include "tiles.h"

namespace pan::kernels::device {

template <class T, int kD>
PAN_DEVICE void anchor_block(const AnchorJob& job) {
  constexpr int kN = kTileRows / 8, kStages = stream_stages<T, kD>();
  const AnchorTask task = job.tasks[block_x()];
  const int head = job.head_of[block_y()];
  const Heads& h = job.heads;
  const size_t tile = tile_bytes<T, kD>(kTileRows);
  const int reach = job.sliding_window > 0 ? job.sliding_window - 1 : 0x7fffffff;
  const int32_t* anchors = job.anchors + task.anchor_begin;
  auto load_anchors = [&](int i, int stage) {
    load_tile<T, kD, kTileRows>(
        shared_at<T>(static_cast<size_t>(1 + stage) * tile), h.head_size, h.k.data, [&](int r) {
          return i + r < task.num_anchors
                     ? row_at<T>(h.k, task.sequence_begin + anchors[i + r], head / h.group)
                     : nullptr;
        });
    commit_copies();
  };
  load_tile<T, kD, kTileRows>(shared_at<T>(0), h.head_size, h.q.data, [&](int r) {
    return task.t_begin + r < task.t_end ? row_at<T>(h.q, task.sequence_begin + task.t_begin + r, head)
                                         : nullptr;
  });
  load_anchors(0, 0);

  const int row = task.t_begin + warp_index() * 16 + quad_row();
  const float* lse = job.lse_ns + head * job.num_tokens + task.sequence_begin;
  float row_lse[2], sum[2] = {0.0f, 0.0f};
  PAN_UNROLL
  for (int half = 0; half < 2; ++half)
    row_lse[half] = row + 8 * half < task.t_end ? lse[row + 8 * half] * kLog2E : 0.0f;
  wait_copies<0>();
  sync_block();
  const Left<T, kD, 1> left = left_of<T, kD, 1>(shared_at<T>(0));
  int stage = 0;
  PAN_NO_UNROLL
  for (int i0 = 0; i0 < task.num_anchors; i0 += kTileRows) {
    wait_copies<0>();
    sync_block();
    const Shared<T> keys = shared_at<T>(static_cast<size_t>(1 + stage) * tile);
    if (kStages == 2) {
      stage ^= 1;
      if (i0 + kTileRows < task.num_anchors) load_anchors(i0 + kTileRows, stage);
    }
    float acc[1][kN][4];
    multiply<T, kD, 1, kN>(acc, left, keys);
    PAN_UNROLL
    for (int i = 0; i < 2 * kN; ++i) {
      const int at = i0 + i / 2 * 8 + 2 * quad_column() + i % 2;
      const bool real = at < task.num_anchors;
      const int s = real ? anchors[at] : 0;
      PAN_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int t = row + 8 * half;
        const bool inside = real && t < task.t_end && t - s <= reach;
        sum[half] += exp2_fast(inside ? mul_add(acc[0][i / 2][2 * half + i % 2], h.scale_log2, -row_lse[half])
                                      : kNoScore);
      }
    }
    if (kStages == 1) {
      sync_block();
      if (i0 + kTileRows < task.num_anchors) load_anchors(i0 + kTileRows, 0);
    }
  }
  PAN_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float total = quad_sum(sum[half]);
    const int t = row + 8 * half;
    if (quad_column() == 0 && t < task.t_end)
      job.out[block_y() * job.num_tokens + task.sequence_begin + t] = total;
  }
}

}  // namespace pan::kernels::device
