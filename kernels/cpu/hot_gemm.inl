// Scores as a small matrix product: a panel of queries, one per lane, against key rows taken as they lie in
// memory.
//
// One lane is one query row, so the softmax that follows never looks across lanes, and keys need no packing.
// Where the processor multiplies pairs of bfloat16 itself, such inputs are not widened: twice the speed, and
// the products are exact either way.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

// Panel: [D][kPanel], lane i = row i of `from` (stride in elements) times `factor`; lanes from `count` on are
// 0.
static void pack_floats(const void* from, Type type, int64_t stride, int64_t count, int64_t head_size,
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

// What the two sides of a product are: rows of `size` elements of `type`, scores times `factor`.
struct Product {
  Type type;
  int64_t size;
  float factor;
  bool pairs;  // multiplied as bfloat16 pairs
};

#if defined(__AVX512BF16__)
constexpr bool kNativePairs = true;
typedef uint32_t Pair __attribute__((aligned(2), may_alias));

// [size / 2][kPanel] pairs; no factor, which pairs could not hold.
static void pack_pairs(const uint16_t* from, int64_t stride, int64_t count, int64_t size, float* panel) {
  Pair* pairs = reinterpret_cast<Pair*>(panel);
  for (int64_t i = 0; i < kPanel; ++i) {
    const uint16_t* row = from + i * stride;
    for (int64_t d = 0; d < size / 2; ++d) {
      pairs[d * kPanel + i] = i < count ? *reinterpret_cast<const Pair*>(row + 2 * d) : 0;
    }
  }
}

template <int kRows>
PAN_INLINE void gemm_pairs(const float* panel, const uint16_t* keys, int64_t stride, int64_t num_pairs,
                           float factor, float* out) {
  __m512 acc[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  for (int64_t d = 0; d < num_pairs; ++d) {
    const __m512bh a = reinterpret_cast<__m512bh>(load(panel)),
                   b = reinterpret_cast<__m512bh>(load(panel + kLanes));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const int pair = static_cast<int>(*reinterpret_cast<const Pair*>(keys + r * stride));
      const __m512bh key = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], a, key);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], b, key);
    }
    panel += kPanel;
    keys += 2;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    store(out + r * kPanel, acc[r][0] * splat(factor));
    store(out + r * kPanel + kLanes, acc[r][1] * splat(factor));
  }
}

template <int kRows>
PAN_INLINE void product_rows(const Product& p, const float* panel, const void* keys, int64_t stride,
                             float* out) {
  if (p.pairs) {
    gemm_pairs<kRows>(panel, static_cast<const uint16_t*>(keys), stride, p.size / 2, p.factor, out);
  } else {
    gemm_rows<kRows>(panel, static_cast<const float*>(keys), stride, p.size, out);
  }
}
#else
constexpr bool kNativePairs = false;
static void pack_pairs(const uint16_t*, int64_t, int64_t, int64_t, float*) {}

template <int kRows>
PAN_INLINE void product_rows(const Product& p, const float* panel, const void* keys, int64_t stride,
                             float* out) {
  gemm_rows<kRows>(panel, static_cast<const float*>(keys), stride, p.size, out);
}
#endif

PAN_INLINE Product product_of(Type type, int64_t size, float factor) {
  return {type, size, factor, kNativePairs && type == Type::bfloat16 && size % 2 == 0};
}

// Rows to a panel, which takes size * kPanel floats.
static void pack_panel(const Product& p, const void* from, int64_t stride, int64_t count, float* panel) {
  if (p.pairs) {
    pack_pairs(static_cast<const uint16_t*>(from), stride, count, p.size, panel);
  } else {
    pack_floats(from, p.type, stride, count, p.size, p.factor, panel);
  }
}

// Rows as the product takes them: pairs and float32 in place where they lie, else widened into `buffer`
// [count][size].
struct KeyRows {
  const void* data;
  int64_t stride;
  bool narrow;  // two bytes an element
};

PAN_INLINE KeyRows key_rows(const Product& p, const void* from, int64_t stride, int64_t count,
                            float* buffer) {
  if (p.pairs || p.type == Type::float32) return {from, stride, p.pairs};
  for (int64_t i = 0; i < count; ++i)
    widen(advance(from, p.type, i * stride), p.type, p.size, buffer + i * p.size);
  return {buffer, p.size, false};
}

// out [count][kPanel]: the scores of rows [first, first + count) of `keys`.
static void multiply(const Product& p, const float* panel, const KeyRows& keys, int64_t first, int64_t count,
                     float* out) {
  auto row = [&](int64_t r) {
    return static_cast<const char*>(keys.data) + (first + r) * keys.stride * (keys.narrow ? 2 : 4);
  };
  int64_t r = 0;
  for (; r + kTileKeys <= count; r += kTileKeys) {
    product_rows<kTileKeys>(p, panel, row(r), keys.stride, out + r * kPanel);
  }
  for (; r + 4 <= count; r += 4) product_rows<4>(p, panel, row(r), keys.stride, out + r * kPanel);
  for (; r < count; ++r) product_rows<1>(p, panel, row(r), keys.stride, out + r * kPanel);
}

PAN_INLINE const void* row_of(const Packed& x, Type type, int64_t token, int64_t head) {
  return advance(x.data, type, token * x.stride_token + head * x.stride_head);
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
