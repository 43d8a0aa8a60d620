// Attention of one new token per row over cached keys and values (kernels/decode_attention.h).
//
// A block takes up to kDecodeSplit keys of one row for kG query heads that share them. Tiles of keys and
// values arrive by asynchronous copies. Scores: neighbouring threads share a key. Sums of values: a thread
// owns two neighbouring elements of the result for every kParts-th value. Splits depend on the row alone.
#pragma once

#include "tiles.h"

namespace pan::kernels::device {

template <class T>
PAN_DEVICE Pair<float> load_two(Shared<T> from) {
  const Pair<T> two = load_as<Pair<T>>(from);
  return {{to_float(two.v[0]), to_float(two.v[1])}};
}

// 16 bytes of a row times as many floats, added to `sum`.
PAN_DEVICE float add_chunk(float, Shared<float> row, Shared<float> query, float sum) {
  const Vec4 a = load_as<Vec4>(row), b = load_as<Vec4>(query);
  PAN_UNROLL
  for (int i = 0; i < 4; ++i) sum = mul_add(a.v[i], b.v[i], sum);
  return sum;
}
template <class T>
PAN_DEVICE float add_chunk(T, Shared<T> row, Shared<float> query, float sum) {
  const Bits4 a = load_as<Bits4>(row);
  const Vec4 low = load_as<Vec4>(query), high = load_as<Vec4>(query + 4);
  PAN_UNROLL
  for (int i = 0; i < 8; ++i) {
    const T x{static_cast<uint16_t>(a.v[i / 2] >> (i % 2 * 16))};
    sum = mul_add(to_float(x), i < 4 ? low.v[i % 4] : high.v[i % 4], sum);
  }
  return sum;
}

template <class T, int kD, int kG>
PAN_DEVICE void decode_block(const DecodeJob& job) {
  constexpr int kKeys = decode_keys<T, kD>(), kStride = tile_stride<T, kD>();
  constexpr int kChunk = 16 / static_cast<int>(sizeof(T)), kSharers = kThreads / kKeys;  // threads of a key
  constexpr int kPairs = kD / 2, kParts = kThreads / kPairs;
  static_assert(kParts >= 1);
  const int split = block_x(), row = block_z(), thread = thread_index();
  const int pieces = decode_head_pieces(job.group), key_head = block_y() / pieces;
  const int first_head = block_y() % pieces * kG;  // in the group
  const DecodeRow place = job.rows[row];
  const int begin = split * kDecodeSplit, end = min_of(place.length, begin + kDecodeSplit);
  if (begin >= end) return;  // of the whole block
  const int head_size = job.head_size;

  const size_t tile = tile_bytes<T, kD>(kKeys);
  const Shared<float> query = shared_at<float>(4 * tile);  // [kG][kD], scaled
  const Shared<float> weights = query + kG * kD;           // [kG][kKeys]: scores, then probabilities
  const Shared<float> factors = weights + kG * kKeys;      // [kG]: of the sums so far; at last l
  const T* k = static_cast<const T*>(job.k) + place.k_offset + key_head * job.k_stride_head;
  const T* v = static_cast<const T*>(job.v) + place.v_offset + key_head * job.v_stride_head;
  auto load = [&](int s, int stage) {
    load_tile<T, kD, kKeys>(shared_at<T>(static_cast<size_t>(2 * stage) * tile), head_size, job.k,
                            [&](int r) { return s + r < end ? k + (s + r) * job.k_stride_token : nullptr; });
    load_tile<T, kD, kKeys>(shared_at<T>(static_cast<size_t>(2 * stage + 1) * tile), head_size, job.v,
                            [&](int r) { return s + r < end ? v + (s + r) * job.v_stride_token : nullptr; });
    commit_copies();
  };
  load(begin, 0);
  for (int i = thread; i < kG * kD; i += kThreads) {
    const int g = first_head + i / kD, d = i % kD;
    const T* from = static_cast<const T*>(job.q) + row * job.q_stride_row +
                    (key_head * job.group + g) * job.q_stride_head;
    query[i] = g < job.group && d < head_size ? to_float(from[d]) * job.scale_log2 : 0.0f;
  }

  float m = kNoScore, l = 0.0f;  // of head `thread`, in the warp that owns the softmax of it
  float sum[kG][2] = {};
  const int pair = thread % kPairs, part = thread / kPairs;
  int stage = 0;
  PAN_NO_UNROLL
  for (int s = begin; s < end; s += kKeys) {
    wait_copies<0>();
    sync_block();
    const Shared<T> keys = shared_at<T>(static_cast<size_t>(2 * stage) * tile);
    const Shared<T> values = shared_at<T>(static_cast<size_t>(2 * stage + 1) * tile);
    stage ^= 1;
    if (s + kKeys < end) load(s + kKeys, stage);

    const int key = thread / kSharers, sharer = thread % kSharers;
    PAN_UNROLL
    for (int g = 0; g < kG; ++g) {
      float score = 0.0f;
      PAN_UNROLL
      for (int c = 0; c < (kD / kChunk + kSharers - 1) / kSharers; ++c) {
        const int d = (c * kSharers + sharer) * kChunk;
        if (d < kD) score = add_chunk(T(), keys + (key * kStride + d), query + (g * kD + d), score);
      }
      PAN_UNROLL
      for (int lanes = 1; lanes < kSharers; lanes *= 2) score += shuffle_xor(score, lanes);
      if (sharer == 0) weights[g * kKeys + key] = s + key < end ? score : kNoScore;
    }
    sync_block();
    // Softmax of head g by warp g % kWarps.
    PAN_UNROLL
    for (int i = 0; i < (kG + kWarps - 1) / kWarps; ++i) {
      const int g = i * kWarps + warp_index();
      if (g >= kG) continue;  // of the whole warp
      const Shared<float> mine = weights + g * kKeys;
      float best = mine[lane_index()];
      if (kKeys == 64) best = max_of(best, static_cast<float>(mine[lane_index() + 32]));
      PAN_UNROLL
      for (int lanes = 1; lanes < 32; lanes *= 2) best = max_of(best, shuffle_xor(best, lanes));
      // Lane i of the warp keeps the head of round i.
      const float old_m = broadcast(m, i), new_m = max_of(old_m, best);
      float total = 0.0f;
      PAN_UNROLL
      for (int j = 0; j < kKeys / 32; ++j) {
        const int at = j * 32 + lane_index();
        const float p = exp2_fast(mine[at] - new_m);
        mine[at] = p;
        total += p;
      }
      PAN_UNROLL
      for (int lanes = 1; lanes < 32; lanes *= 2) total += shuffle_xor(total, lanes);
      const float c = exp2_fast(old_m - new_m);
      if (lane_index() == i) {
        m = new_m;
        l = mul_add(c, l, total);
        factors[g] = c;
      }
    }
    sync_block();
    if (part < kParts) {
      PAN_UNROLL
      for (int g = 0; g < kG; ++g) {
        const float c = factors[g];
        sum[g][0] *= c;
        sum[g][1] *= c;
      }
      const int count = min_of(kKeys, end - s);
      for (int j = part; j < count; j += kParts) {
        const Pair<float> value = load_two<T>(values + (j * kStride + 2 * pair));
        PAN_UNROLL
        for (int g = 0; g < kG; ++g) {
          const float p = weights[g * kKeys + j];
          sum[g][0] = mul_add(p, value.v[0], sum[g][0]);
          sum[g][1] = mul_add(p, value.v[1], sum[g][1]);
        }
      }
    }
  }

  // The parts of the values' sums, in order; then the result or this split's share of it.
  sync_block();
  const Shared<float> parts = shared_at<float>(0);  // [kParts][kG][kD], where tiles were
  if (part < kParts) {
    PAN_UNROLL
    for (int g = 0; g < kG; ++g) {
      parts[(part * kG + g) * kD + 2 * pair] = sum[g][0];
      parts[(part * kG + g) * kD + 2 * pair + 1] = sum[g][1];
    }
  }
  PAN_UNROLL
  for (int i = 0; i < (kG + kWarps - 1) / kWarps; ++i) {
    const int g = i * kWarps + warp_index();
    if (g < kG && lane_index() == i) {
      factors[g] = l;
      weights[g] = m;
    }
  }
  sync_block();
  for (int i = thread; i < kG * kD; i += kThreads) {
    const int g = i / kD, d = i % kD, head = key_head * job.group + first_head + g;
    if (first_head + g >= job.group || d >= head_size) continue;
    float total = parts[g * kD + d];
    for (int p = 1; p < kParts; ++p) total += parts[(p * kG + g) * kD + d];
    if (job.num_splits > 1) {
      float* to =
          job.partial +
          ((row * static_cast<int64_t>(job.num_heads) + head) * job.num_splits + split) * (head_size + 2);
      to[d] = total;
      if (d == 0) {
        to[head_size] = weights[g];
        to[head_size + 1] = factors[g];
      }
    } else {
      T* to = static_cast<T*>(job.out) + row * job.out_stride_row + head * job.out_stride_head;
      from_float(total / factors[g], to[d]);
    }
  }
}

// The splits of a row and head, in order.
template <class T>
PAN_DEVICE void decode_merge_block(const DecodeJob& job) {
  const int head = block_x(), row = block_y(), splits = decode_splits(job.rows[row].length);
  const int size = job.head_size;
  const float* from =
      job.partial + (row * static_cast<int64_t>(job.num_heads) + head) * job.num_splits * (size + 2);
  float m = kNoScore;
  for (int i = 0; i < splits; ++i) m = max_of(m, from[i * (size + 2) + size]);
  float l = 0.0f;
  for (int i = 0; i < splits; ++i)
    l = mul_add(exp2_fast(from[i * (size + 2) + size] - m), from[i * (size + 2) + size + 1], l);
  T* to = static_cast<T*>(job.out) + row * job.out_stride_row + head * job.out_stride_head;
  for (int d = thread_index(); d < size; d += kThreads) {
    float total = 0.0f;
    for (int i = 0; i < splits; ++i)
      total = mul_add(exp2_fast(from[i * (size + 2) + size] - m), from[i * (size + 2) + d], total);
    from_float(total / l, to[d]);
  }
}

}  // namespace pan::kernels::device
