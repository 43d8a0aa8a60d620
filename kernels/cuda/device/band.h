// The band of the attention map: entries lo <= t - s <= hi, weighted over heads (docs/rhythm.md, section 3).
// A block takes 64 rows against one tile of 64 keys and goes through the heads, so an entry is one thread's
// own.
#pragma once

#include "tiles.h"

namespace pan::kernels::device {

template <class T, int kD>
PAN_DEVICE void band_block(const BandJob& job) {
  constexpr int kN = kTileRows / 8, kStages = band_stages<T, kD>();
  const BandTask task = job.tasks[block_x()];
  const Heads& h = job.heads;
  const size_t tile = tile_bytes<T, kD>(kTileRows);
  const int s0 = task.t_begin - job.hi + kTileRows * block_y();  // the first key, may be negative
  const int s_end = task.t_end - job.lo;                         // behind the last key in reach of a row
  const int width = job.hi - job.lo + 1;
  const int reach = job.sliding_window > 0 ? min_of(job.hi, job.sliding_window - 1) : job.hi;
  auto next_head = [&](int head) {
    do ++head;
    while (head < job.num_heads && job.head_weights[head] == 0.0f);
    return head;
  };
  auto load = [&](int head, int stage) {
    const size_t at = static_cast<size_t>(stage) * 2 * tile;
    load_tile<T, kD, kTileRows>(shared_at<T>(at), h.head_size, h.q.data, [&](int r) {
      return task.t_begin + r < task.t_end ? row_at<T>(h.q, task.sequence_begin + task.t_begin + r, head)
                                           : nullptr;
    });
    load_tile<T, kD, kTileRows>(shared_at<T>(at + tile), h.head_size, h.k.data, [&](int r) {
      const int s = s0 + r;
      return s >= 0 && s < s_end ? row_at<T>(h.k, task.sequence_begin + s, head / h.group) : nullptr;
    });
    commit_copies();
  };

  const int row = warp_index() * 16 + quad_row();
  float sum[kN][4] = {};
  const bool some = s_end > 0 && s0 < s_end && s0 + kTileRows > 0;
  int head = some ? next_head(-1) : job.num_heads, stage = 0;
  if (head < job.num_heads) load(head, 0);
  while (head < job.num_heads) {
    const int next = next_head(head);
    wait_copies<0>();
    sync_block();
    const size_t at = static_cast<size_t>(stage) * 2 * tile;
    if (kStages == 2) {
      stage ^= 1;
      if (next < job.num_heads) load(next, stage);
    }
    float acc[1][kN][4];
    multiply<T, kD, 1, kN>(acc, left_of<T, kD, 1>(shared_at<T>(at)), shared_at<T>(at + tile));
    const float weight = job.head_weights[head];
    const float* lse = job.lse + head * job.num_tokens + task.sequence_begin;
    PAN_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int t = task.t_begin + row + 8 * half;
      const float row_lse = t < task.t_end ? lse[t] * kLog2E : 0.0f;
      PAN_UNROLL
      for (int i = 0; i < 2 * kN; ++i) {
        const int s = s0 + i / 2 * 8 + 2 * quad_column() + i % 2, distance = t - s;
        const bool inside = s >= 0 && t < task.t_end && distance >= job.lo && distance <= reach;
        const float a =
            exp2_fast(inside ? mul_add(acc[0][i / 2][2 * half + i % 2], h.scale_log2, -row_lse) : kNoScore);
        sum[i / 2][2 * half + i % 2] = mul_add(weight, a, sum[i / 2][2 * half + i % 2]);
      }
    }
    if (kStages == 1) {
      sync_block();
      if (next < job.num_heads) load(next, 0);
    }
    head = next;
  }
  PAN_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int t = task.t_begin + row + 8 * half;
    PAN_UNROLL
    for (int i = 0; i < 2 * kN; ++i) {
      const int delta = t - (s0 + i / 2 * 8 + 2 * quad_column() + i % 2);
      if (t < task.t_end && delta >= job.lo && delta <= job.hi)
        job.out[(task.sequence_begin + t) * static_cast<int64_t>(width) + delta - job.lo] =
            sum[i / 2][2 * half + i % 2];
    }
  }
}

}  // namespace pan::kernels::device
