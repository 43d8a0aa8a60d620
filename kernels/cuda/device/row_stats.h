// Row statistics by one pass over the keys (docs/rhythm.md, section 2), in powers of two.
//
// Every thread keeps an online softmax of its own for the keys it sees of each of its rows, so no lane waits
// for another inside the loop; the four lanes of a row are merged at the end. Sink keys come first in a row,
// so the same registers hold their sums, which move to shared memory when the last sink has been seen.
#pragma once

#include "tiles.h"

namespace pan::kernels::device {

constexpr float kMasked = -1e30f;  // below every score; finite, so that 0 * (m - S) is 0

// Sums of one set of keys, relative to the maximum m (log2): l = sum p, v = sum p (m - S), g = sum p (t - s),
// w = sum p min(t - s, W) with p = 2^(S - m). All terms are >= 0.
struct RowSums {
  float m, l, v, g, w;
};
PAN_DEVICE RowSums empty_sums() { return {kMasked, 0.0f, 0.0f, 0.0f, 0.0f}; }

// What a thread knows about one of its rows.
struct RowPlace {
  int t;
  int slot;
  bool real;  // else beyond the task: worked on like the last row, not written
};

PAN_DEVICE RowPlace place_of(const RowsTask& task, int row) {
  const int position = row / task.slot_count;
  const bool real = position < task.t_end - task.t_begin;
  return {real ? task.t_begin + position : task.t_end - 1, task.slot_begin + row % task.slot_count, real};
}

// Keys [s0, s0 + 8 kN), all visible and at least W away. `last`: distance from the row to the thread's last
// key.
template <unsigned kWanted, int kN>
PAN_DEVICE void add_far(RowSums& sums, const float (&acc)[kN][4], int half, float scale, float last,
                        float limit) {
  float best = acc[0][2 * half];
  PAN_UNROLL
  for (int n = 0; n < kN; ++n) best = max_of(best, max_of(acc[n][2 * half], acc[n][2 * half + 1]));
  const float m = max_of(sums.m, mul_up(best, scale));  // upwards: no S - m is positive
  const float shift = m - sums.m, c = exp2_fast(-shift);
  float l = 0.0f, v = 0.0f, g = 0.0f;
  PAN_UNROLL
  for (int n = 0; n < kN; ++n) {
    PAN_UNROLL
    for (int e = 0; e < 2; ++e) {
      const float x = mul_add(acc[n][2 * half + e], scale, -m), p = exp2_fast(x);
      l += p;
      if (kWanted & kWantV) v = mul_add(p, -x, v);
      if (kWanted & kWantG) g = mul_add(p, static_cast<float>(8 * (kN - 1 - n) + 1 - e), g);
    }
  }
  if (kWanted & kWantV) sums.v = mul_add(c, mul_add(shift, sums.l, sums.v), v);
  if (kWanted & kWantG) sums.g = mul_add(c, sums.g, mul_add(last, l, g));
  if (kWanted & kWantW) sums.w = mul_add(c, sums.w, limit * l);
  sums.l = mul_add(c, sums.l, l);
  sums.m = m;
}

// Keys s0 + 8 n + e of [s_begin, s_end) and not further than `reach`: masks and distances key by key.
template <unsigned kWanted, int kN>
PAN_DEVICE void add_near(RowSums& sums, const float (&acc)[kN][4], int half, float scale, int t, int s0,
                         int s_begin, int s_end, int reach, float limit) {
  // Key s0 + i is visible for i in [from, to).
  const int from = max_of(s_begin, reach < t ? t - reach : 0) - s0, to = min_of(s_end, t + 1) - s0;
  float best = kMasked;
  PAN_UNROLL
  for (int n = 0; n < kN; ++n) {
    PAN_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int i = 8 * n + e;
      if (i >= from && i < to) best = max_of(best, acc[n][2 * half + e]);
    }
  }
  const float m = max_of(sums.m, mul_up(best, scale));
  const float shift = m - sums.m, c = exp2_fast(-shift), first = static_cast<float>(t - s0);
  float l = 0.0f, v = 0.0f, g = 0.0f, w = 0.0f;
  PAN_UNROLL
  for (int n = 0; n < kN; ++n) {
    PAN_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int i = 8 * n + e;
      const bool visible = i >= from && i < to;
      const float x = visible ? mul_add(acc[n][2 * half + e], scale, -m) : 0.0f;
      const float p = visible ? exp2_fast(x) : 0.0f;
      const float distance = first - static_cast<float>(i);
      l += p;
      if (kWanted & kWantV) v = mul_add(p, -x, v);
      if (kWanted & kWantG) g = mul_add(p, distance, g);
      if (kWanted & kWantW) w = mul_add(p, min_of(distance, limit), w);
    }
  }
  if (kWanted & kWantV) sums.v = mul_add(c, mul_add(shift, sums.l, sums.v), v);
  if (kWanted & kWantG) sums.g = mul_add(c, sums.g, g);
  if (kWanted & kWantW) sums.w = mul_add(c, sums.w, w);
  sums.l = mul_add(c, sums.l, l);
  sums.m = m;
}

// The sums of the lane `lanes` away, taken into these.
PAN_DEVICE void merge_lanes(RowSums& sums, int lanes) {
  const RowSums other{shuffle_xor(sums.m, lanes), shuffle_xor(sums.l, lanes), shuffle_xor(sums.v, lanes),
                      shuffle_xor(sums.g, lanes), shuffle_xor(sums.w, lanes)};
  const float m = max_of(sums.m, other.m);
  const float shift0 = m - sums.m, shift1 = m - other.m, c0 = exp2_fast(-shift0), c1 = exp2_fast(-shift1);
  sums.v = c0 * mul_add(shift0, sums.l, sums.v) + c1 * mul_add(shift1, other.l, other.v);
  sums.l = c0 * sums.l + c1 * other.l;
  sums.g = c0 * sums.g + c1 * other.g;
  sums.w = c0 * sums.w + c1 * other.w;
  sums.m = m;
}

// Both sets of keys of a row become its statistics.
PAN_DEVICE void write_row(const RowStatsJob& job, const RowSums& sink, const RowSums& rest, int t,
                          int64_t at) {
  const int begin = job.sliding_window > 0 ? max_of(0, t - job.sliding_window + 1) : 0;
  const int num_rest = t + 1 - max_of(begin, job.num_sink);  // visible keys that are no sinks; <= 0: none
  const bool has_rest = num_rest > 0, has_sink = min_of(job.num_sink, t + 1) > begin;
  const float m0 = has_sink ? sink.m : kMasked, m1 = has_rest ? rest.m : kMasked, m = max_of(m0, m1);
  const float shift0 = m - m0, shift1 = m - m1;
  const float c0 = has_sink ? exp2_fast(-shift0) : 0.0f, c1 = has_rest ? exp2_fast(-shift1) : 0.0f;
  const float l = mul_add(c0, sink.l, c1 * rest.l), ln_l = log_natural(l);
  const float l1 = has_rest ? rest.l : 1.0f, ln_l1 = log_natural(l1);
  auto put = [&](Statistic which, float value) {
    if (job.out[which] != nullptr) job.out[which][at] = value;
  };
  put(kLse, mul_add(m, kLn2, ln_l));
  put(kLseNs, has_rest ? mul_add(m1, kLn2, ln_l1) : minus_infinity());
  const float v0 = has_sink ? c0 * mul_add(shift0, sink.l, sink.v) : 0.0f;
  const float v1 = has_rest ? c1 * mul_add(shift1, rest.l, rest.v) : 0.0f;
  put(kEntropy, mul_add((v0 + v1) / l, kLn2, ln_l));
  const float nats = mul_add(rest.v / l1, kLn2, ln_l1);
  put(kNormEntropy, num_rest > 1 ? nats / log_natural(static_cast<float>(num_rest)) : 0.0f);
  put(kDistance, mul_add(c0, sink.g, c1 * rest.g) / l);
  put(kDistanceNs, has_rest ? rest.g / l1 : 0.0f);
  put(kWaad, mul_add(c0, sink.w, c1 * rest.w) / l);
  put(kSinkMass, c0 * sink.l / l);
}

// A place of the thread's own in shared memory for the sums of row slot `slot`, five words kThreads apart.
PAN_DEVICE void store_sums(Shared<float> to, int slot, const RowSums& sums) {
  const Shared<float> mine = to + (slot * 5 * kThreads + thread_index());
  mine[0] = sums.m;
  mine[kThreads] = sums.l;
  mine[2 * kThreads] = sums.v;
  mine[3 * kThreads] = sums.g;
  mine[4 * kThreads] = sums.w;
}
PAN_DEVICE RowSums load_sums(Shared<float> from, int slot) {
  const Shared<float> mine = from + (slot * 5 * kThreads + thread_index());
  return {mine[0], mine[kThreads], mine[2 * kThreads], mine[3 * kThreads], mine[4 * kThreads]};
}

template <class T, int kD, unsigned kWanted>
PAN_DEVICE void row_stats_block(const RowStatsJob& job) {
  constexpr int kM = row_stats_fragments<T, kD>(), kKeys = row_stats_keys<T, kD>(), kN = kKeys / 8,
                kRows = row_stats_rows<T, kD>(), kSlots = 2 * kM;
  const RowsTask task = job.tasks[block_x()];
  const Heads& h = job.heads;
  const Shared<T> queries = shared_at<T>(0);
  const size_t keys_at = tile_bytes<T, kD>(kRows), tile = tile_bytes<T, kD>(kKeys);
  const Shared<float> sinks = shared_at<float>(keys_at + 2 * tile);
  const int reach = job.sliding_window > 0 ? job.sliding_window - 1 : 0x7fffffff;  // largest visible distance
  const float limit = static_cast<float>(job.waad_window);

  const int first_key = task.t_begin > reach ? (task.t_begin - reach) / kKeys * kKeys : 0;
  const int key_head = job.slots[task.slot_begin].head / h.group;
  RowStream<T, kD, kKeys> stream(row_at<T>(h.k, task.sequence_begin + first_key, key_head), h.k.stride_token);
  auto load_keys = [&](int s, int stage) {
    stream.load(shared_at<T>(keys_at + static_cast<size_t>(stage) * tile), task.t_end - s, h.head_size);
    commit_copies();
  };
  load_tile<T, kD, kRows>(queries, h.head_size, h.q.data, [&](int r) {
    const RowPlace place = place_of(task, r);
    return place.real ? row_at<T>(h.q, task.sequence_begin + place.t, job.slots[place.slot].head) : nullptr;
  });
  load_keys(first_key, 0);

  // Rows of this warp and of this thread.
  const int warp_row = warp_index() * 16 * kM;
  const int t_first = place_of(task, warp_row).t, t_last = place_of(task, warp_row + 16 * kM - 1).t;
  RowSums sums[kSlots];
  float row_t[kSlots];
  PAN_UNROLL
  for (int j = 0; j < kSlots; ++j) {
    sums[j] = empty_sums();
    row_t[j] = static_cast<float>(place_of(task, warp_row + 8 * j + quad_row()).t);
  }
  bool in_sinks = first_key < job.num_sink;  // `sums` are those of the sinks
  auto stash = [&] {
    PAN_UNROLL
    for (int j = 0; j < kSlots; ++j) {
      store_sums(sinks, j, sums[j]);
      sums[j] = empty_sums();
    }
    in_sinks = false;
  };
  const bool any_sinks = in_sinks;

  wait_copies<0>();
  sync_block();
  const Left<T, kD, kM> left = left_of<T, kD, kM>(queries);
  int stage = 0;
  PAN_NO_UNROLL
  for (int s = first_key; s < task.t_end; s += kKeys) {
    wait_copies<0>();
    sync_block();  // the tile is there, and nobody reads the other one any more
    const Shared<T> keys = shared_at<T>(keys_at + static_cast<size_t>(stage) * tile);
    stage ^= 1;
    if (s + kKeys < task.t_end) load_keys(s + kKeys, stage);
    const int s_last = s + kKeys - 1;
    if (s > t_last || (s_last < t_first && t_first - s_last > reach)) continue;  // nothing this warp sees
    float acc[kM][kN][4];
    multiply<T, kD, kM, kN>(acc, left, keys);
    const int column = s + 2 * quad_column();
    const int closest = t_first - s_last;
    const bool far = !in_sinks && s >= job.num_sink &&
                     closest >= ((kWanted & kWantW) != 0 ? job.waad_window : 0) && t_last - s <= reach;
    if (far) {
      PAN_UNROLL
      for (int j = 0; j < kSlots; ++j) {
        const float last = row_t[j] - static_cast<float>(column + (kKeys - 7));
        add_far<kWanted>(sums[j], acc[j / 2], j % 2, h.scale_log2, last, limit);
      }
      continue;
    }
    // Sinks, then the rest.
    PAN_NO_UNROLL
    for (int part = s < job.num_sink ? 0 : 1; part < 2; ++part) {
      if (part == 1 && in_sinks) {
        if (s + kKeys < job.num_sink) break;
        stash();
      }
      PAN_UNROLL
      for (int j = 0; j < kSlots; ++j) {
        add_near<kWanted>(sums[j], acc[j / 2], j % 2, h.scale_log2, opaque(static_cast<int>(row_t[j])),
                          column, part == 0 ? 0 : job.num_sink, part == 0 ? job.num_sink : 0x7fffffff, reach,
                          static_cast<float>(opaque(job.waad_window)));
      }
    }
  }
  if (in_sinks) stash();

  const int last_row = opaque(warp_row) + quad_row();
  PAN_UNROLL
  for (int j = 0; j < kSlots; ++j) {
    RowSums sink = any_sinks ? load_sums(sinks, j) : empty_sums();
    merge_lanes(sink, 1);
    merge_lanes(sink, 2);
    merge_lanes(sums[j], 1);
    merge_lanes(sums[j], 2);
    const RowPlace place = place_of(task, last_row + 8 * j);
    if (place.real && quad_column() == 0)
      write_row(job, sink, sums[j], place.t,
                job.slots[place.slot].out_row * job.num_tokens + task.sequence_begin + place.t);
  }
}

}  // namespace pan::kernels::device
