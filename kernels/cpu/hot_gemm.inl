// Scores as a small matrix product: a panel of queries, one per lane, against key rows taken as they lie in
// memory.
//
// One lane is one query row, so the softmax that follows never looks across lanes, and keys need no packing.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

// Panel: [D][kPanel], lane i = row i of `from` (stride in elements) times `factor`; lanes from `count` on are
// 0.
static void pack_panel(const void* from, Type type, int64_t stride, int64_t count, int64_t head_size,
                       float factor, float* panel) {
  int64_t i = 0;
#if defined(__x86_64__)
  if (type == Type::float32) {
    const __m128 f = _mm_set1_ps(factor);
    for (; i + 4 <= count; i += 4) {
      const float* row = static_cast<const float*>(from) + i * stride;
      int64_t d = 0;
      for (; d + 4 <= head_size; d += 4) {
        __m128 a = _mm_mul_ps(_mm_loadu_ps(row + d), f), b = _mm_mul_ps(_mm_loadu_ps(row + stride + d), f);
        __m128 c = _mm_mul_ps(_mm_loadu_ps(row + 2 * stride + d), f);
        __m128 e = _mm_mul_ps(_mm_loadu_ps(row + 3 * stride + d), f);
        _MM_TRANSPOSE4_PS(a, b, c, e);
        _mm_storeu_ps(panel + d * kPanel + i, a);
        _mm_storeu_ps(panel + (d + 1) * kPanel + i, b);
        _mm_storeu_ps(panel + (d + 2) * kPanel + i, c);
        _mm_storeu_ps(panel + (d + 3) * kPanel + i, e);
      }
      for (; d < head_size; ++d) {
        for (int64_t j = 0; j < 4; ++j) panel[d * kPanel + i + j] = row[j * stride + d] * factor;
      }
    }
  }
#endif
  for (; i < count; ++i) {
    const void* row = advance(from, type, i * stride);
    for (int64_t d = 0; d < head_size; ++d) panel[d * kPanel + i] = load_one(row, type, d) * factor;
  }
  for (int64_t d = 0; count < kPanel && d < head_size; ++d) {
    for (int64_t j = count; j < kPanel; ++j) panel[d * kPanel + j] = 0.0f;
  }
}

// out[r][lane] = sum_d panel[d][lane] keys[r][d] for kRows keys.
template <int kRows>
PAN_INLINE void gemm_rows(const float* panel, const float* keys, int64_t stride, int64_t head_size,
                          float* out) {
  Vec acc[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = splat(0.0f);
  for (int64_t d = 0; d < head_size; ++d) {
    const Vec a = load(panel), b = load(panel + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec key = splat(keys[r * stride]);
      acc[r][0] = fma(a, key, acc[r][0]);
      acc[r][1] = fma(b, key, acc[r][1]);
    }
    panel += kPanel;
    ++keys;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    store(out + r * kPanel, acc[r][0]);
    store(out + r * kPanel + kLanes, acc[r][1]);
  }
}

// out [count][kPanel].
static void gemm_panel(const float* panel, const float* keys, int64_t stride, int64_t count,
                       int64_t head_size, float* out) {
  int64_t r = 0;
  for (; r + kTileKeys <= count; r += kTileKeys) {
    gemm_rows<kTileKeys>(panel, keys + r * stride, stride, head_size, out + r * kPanel);
  }
  for (; r + 4 <= count; r += 4) gemm_rows<4>(panel, keys + r * stride, stride, head_size, out + r * kPanel);
  for (; r < count; ++r) gemm_rows<1>(panel, keys + r * stride, stride, head_size, out + r * kPanel);
}

// Key rows as float32: in place where they are, else widened into `buffer` [count][D].
struct KeyRows {
  const float* data;
  int64_t stride;
};

PAN_INLINE KeyRows key_rows(const Packed& k, Type type, int64_t token, int64_t head, int64_t count,
                            int64_t head_size, float* buffer) {
  const void* from = advance(k.data, type, token * k.stride_token + head * k.stride_head);
  if (type == Type::float32) return {static_cast<const float*>(from), k.stride_token};
  for (int64_t i = 0; i < count; ++i) {
    widen(advance(from, type, i * k.stride_token), type, head_size, buffer + i * head_size);
  }
  return {buffer, head_size};
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
