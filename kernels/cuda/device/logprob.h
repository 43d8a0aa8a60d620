// Log-probability and entropy from chunks of logits: the sums of a row, and the gradient of its logits.
#pragma once

#include "intrinsics.h"

namespace pan::kernels::device {

constexpr int kLogprobVector = 8;        // neighbouring columns of a thread
constexpr float kEmptyMaximum = -1e30f;  // of no logits; finite, so that 0 * (m - z) is 0

// Relative to the maximum m (log2): l = sum 2^(z - m), v = sum 2^(z - m) (m - z).
struct LogitSums {
  float m, l, v;
};

PAN_DEVICE LogitSums merged(const LogitSums& a, const LogitSums& b) {
  const float m = max_of(a.m, b.m), shift_a = m - a.m, shift_b = m - b.m;
  const float ca = exp2_fast(-shift_a), cb = exp2_fast(-shift_b);
  return {m, ca * a.l + cb * b.l, ca * mul_add(shift_a, a.l, a.v) + cb * mul_add(shift_b, b.l, b.v)};
}

// Whether rows of `stride` elements from `p` on all begin at multiples of 16 bytes.
template <class T>
PAN_DEVICE bool rows_aligned(const void* p, int64_t stride) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && stride * static_cast<int64_t>(sizeof(T)) % 16 == 0;
}

template <class T>
PAN_DEVICE void load_eight(float (&x)[kLogprobVector], const T* from, int count, bool aligned) {
  if (aligned && count >= kLogprobVector) {
    if constexpr (sizeof(T) == 4) {
      const Vec4 low = load_global<Vec4>(from), high = load_global<Vec4>(from + 4);
      PAN_UNROLL
      for (int i = 0; i < 4; ++i) {
        x[i] = low.v[i];
        x[4 + i] = high.v[i];
      }
    } else {
      const Bits4 bits = load_global<Bits4>(from);
      PAN_UNROLL
      for (int i = 0; i < 8; ++i) x[i] = to_float(T{static_cast<uint16_t>(bits.v[i / 2] >> (i % 2 * 16))});
    }
    return;
  }
  PAN_UNROLL
  for (int i = 0; i < kLogprobVector; ++i) x[i] = i < count ? to_float(from[i]) : 0.0f;
}

template <class T>
PAN_DEVICE void store_eight(T* to, const float (&x)[kLogprobVector], int count, bool aligned) {
  if (aligned && count >= kLogprobVector) {
    if constexpr (sizeof(T) == 4) {
      PAN_UNROLL
      for (int i = 0; i < 2; ++i)
        store_global(to + 4 * i, Vec4{{x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]}});
    } else {
      Bits4 bits;
      PAN_UNROLL
      for (int i = 0; i < 4; ++i) {
        T low, high;
        from_float(x[2 * i], low);
        from_float(x[2 * i + 1], high);
        bits.v[i] = static_cast<uint32_t>(low.bits) | static_cast<uint32_t>(high.bits) << 16;
      }
      store_global(to, bits);
    }
    return;
  }
  PAN_UNROLL
  for (int i = 0; i < kLogprobVector; ++i) {
    if (i < count) from_float(x[i], to[i]);
  }
}

template <class T>
PAN_DEVICE void logprob_reduce_block(const LogprobReduceJob& job) {
  constexpr int kNumWarps = kLogprobThreads / 32;
  const int row = block_x(), num_rows = grid_x(), thread = thread_index();
  const T* logits = static_cast<const T*>(job.logits) + row * job.stride;
  const bool aligned = rows_aligned<T>(job.logits, job.stride);
  const float scale = job.scale_log2;
  LogitSums sums{kEmptyMaximum, 0.0f, 0.0f};
  for (int c = thread * kLogprobVector; c < job.columns; c += kLogprobThreads * kLogprobVector) {
    const int count = min_of(kLogprobVector, job.columns - c);
    float z[kLogprobVector];
    load_eight(z, logits + c, count, aligned);
    float m = sums.m;
    PAN_UNROLL
    for (int i = 0; i < kLogprobVector; ++i) {
      z[i] = i < count ? mul(z[i], scale) : kEmptyMaximum;  // so that the largest is m exactly
      m = max_of(m, z[i]);
    }
    const float shift = m - sums.m, factor = exp2_fast(-shift);
    float l = 0.0f, v = 0.0f;
    PAN_UNROLL
    for (int i = 0; i < kLogprobVector; ++i) {
      const float x = z[i] - m, p = i < count ? exp2_fast(x) : 0.0f;
      l += p;
      v = mul_add(p, -x, v);
    }
    sums.v = mul_add(factor, mul_add(shift, sums.l, sums.v), v);
    sums.l = mul_add(factor, sums.l, l);
    sums.m = m;
  }
  PAN_UNROLL
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const LogitSums other{shuffle_xor(sums.m, lanes), shuffle_xor(sums.l, lanes), shuffle_xor(sums.v, lanes)};
    sums = merged(sums, other);
  }
  const Shared<float> of_warps = shared_at<float>(0);
  if (lane_index() == 0) {
    of_warps[warp_index() * 3] = sums.m;
    of_warps[warp_index() * 3 + 1] = sums.l;
    of_warps[warp_index() * 3 + 2] = sums.v;
  }
  sync_block();
  if (thread != 0) return;
  LogitSums total{of_warps[0], of_warps[1], of_warps[2]};
  for (int i = 1; i < kNumWarps; ++i)
    total = merged(total, {of_warps[i * 3], of_warps[i * 3 + 1], of_warps[i * 3 + 2]});
  float* state = job.state + row;
  if (job.first == 0) total = merged({state[0], state[num_rows], state[2 * num_rows]}, total);
  state[0] = total.m;
  state[num_rows] = total.l;
  state[2 * num_rows] = total.v;
  const int64_t target = job.targets[row] - job.v_begin;
  if (target >= 0 && target < job.columns) state[3 * num_rows] = mul(to_float(logits[target]), scale);
}

PAN_DEVICE void logprob_finish_block(const LogprobFinishJob& job) {
  const int row = block_x() * kLogprobThreads + thread_index();
  if (row >= job.rows) return;
  const float *state = job.state + row, m = state[0], l = state[job.rows], v = state[2 * job.rows];
  const float ln_l = log_natural(l);
  if (job.logprob != nullptr) job.logprob[row] = mul_add(state[3 * job.rows] - m, kLn2, -ln_l);
  if (job.entropy != nullptr) job.entropy[row] = mul_add(v / l, kLn2, ln_l);
  if (job.lse != nullptr) job.lse[row] = mul_add(m, kLn2, ln_l);
}

template <class T, class Out>
PAN_DEVICE void logprob_gradient_block(const LogprobGradientJob& job) {
  const int row = block_y();
  const int c = block_x() * kGradientColumns + thread_index() * kLogprobVector;
  const int count = min_of(kLogprobVector, job.columns - c);
  if (count <= 0) return;
  const T* logits = static_cast<const T*>(job.logits) + row * job.stride + c;
  Out* out = static_cast<Out*>(job.out) + row * job.out_stride + c;
  const float lse = job.lse[row] * kLog2E, entropy = job.entropy[row];
  const float grad_logprob = job.grad_logprob[row], grad_entropy = job.grad_entropy[row];
  const int64_t target = job.targets[row] - job.v_begin - c;
  float x[kLogprobVector];
  load_eight(x, logits, count, rows_aligned<T>(job.logits, job.stride));
  PAN_UNROLL
  for (int i = 0; i < kLogprobVector; ++i) {
    const float z = mul_add(x[i], job.scale_log2, -lse);  // log2 p
    const float p = exp2_fast(z);
    float gradient = p * mul_add(-grad_entropy, mul_add(z, kLn2, entropy), -grad_logprob);
    if (i == target) gradient += grad_logprob;
    x[i] = gradient * job.inverse_temperature;
  }
  store_eight(out, x, count, rows_aligned<Out>(job.out, job.out_stride));
}

}  // namespace pan::kernels::device
