// One query row per head against a key/value cache: here the lanes run along the head size, because every key
// is read once.

namespace pan::kernels::cpu {
namespace PAN_HOT_NAMESPACE {

constexpr int64_t kHeadsAtOnce = 4;  // query heads of a group that share one read of a key

template <int... kIndex>
struct Indices {};
template <int kCount, int... kIndex>
struct CountTo : CountTo<kCount - 1, kCount - 1, kIndex...> {};
template <int... kIndex>
struct CountTo<0, kIndex...> {
  using type = Indices<kIndex...>;
};

// The sums of neighbouring lanes: those of a, then those of b.
template <int... kIndex>
PAN_INLINE Vec add_neighbours(Vec a, Vec b, Indices<kIndex...>) {
  return __builtin_shufflevector(a, b, (2 * kIndex)...) + __builtin_shufflevector(a, b, (2 * kIndex + 1)...);
}

// Lane i of the result: the sum of the lanes of v[i].
PAN_INLINE Vec sum_each(Vec* v) {
#pragma GCC unroll 4
  for (int n = kLanes; n > 1; n /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) v[i] = add_neighbours(v[2 * i], v[2 * i + 1], CountTo<kLanes>::type());
  }
  return v[0];
}

// scores[g][j] = <query[g], k[j]> for kHeads heads, whole vectors of keys at a time; scores has room up to a
// multiple of kLanes.
template <Type kType, int kHeads>
static void decode_scores(const float* query, const void* keys, int64_t stride, int64_t length,
                          int64_t head_size, float* scores, int64_t scores_stride) {
  const int64_t whole = head_size / kLanes * kLanes;
  for (int64_t j = 0; j < length; j += kLanes) {
    const int64_t count = min_of(kLanes, length - j);
    Vec parts[kHeads][kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      Vec acc[kHeads];
      for (int g = 0; g < kHeads; ++g) acc[g] = splat(0.0f);
      if (i < count) {
        const void* key = advance(keys, kType, (j + i) * stride);
        for (int64_t d = 0; d < whole; d += kLanes) {
          const Vec k = load_as<kType>(advance(key, kType, d));
          for (int g = 0; g < kHeads; ++g) acc[g] = fma(k, load(query + g * head_size + d), acc[g]);
        }
        for (int64_t d = whole; d < head_size; ++d) {
          const float k = load_one(key, kType, d);
          for (int g = 0; g < kHeads; ++g) acc[g][0] += k * query[g * head_size + d];
        }
      }
      for (int g = 0; g < kHeads; ++g) parts[g][i] = acc[g];
    }
    for (int g = 0; g < kHeads; ++g) store(scores + g * scores_stride + j, sum_each(parts[g]));
  }
}

// Scores (powers of two) to probabilities up to a factor; returns 1 / their sum.
static float decode_softmax(float* scores, int64_t length) {
  float m = scores[0];
  Vec max = splat(m);
  int64_t j = 0;
  for (; j + kLanes <= length; j += kLanes) max = vmax(load(scores + j), max);
  for (int i = 0; i < kLanes; ++i) m = max[i] > m ? max[i] : m;
  for (; j < length; ++j) m = scores[j] > m ? scores[j] : m;
  Vec sum = splat(0.0f);
  for (j = 0; j < length; j += kLanes) {
    Vec x = load(scores + j) - splat(m);
    if (j + kLanes > length)
      x = select(lane_numbers() < splat(static_cast<float>(length - j)), x, splat(kMasked));
    const Vec p = exp2_nonpositive(x);
    store(scores + j, p);
    sum = sum + p;
  }
  return 1.0f / sum_lanes(sum);
}

// out[g][d] = sum_j scores[g][j] v[j][d] for kHeads heads and kVectors vectors of d.
template <Type kType, int kHeads, int kVectors>
PAN_INLINE void decode_values(const float* scores, int64_t scores_stride, const void* values, int64_t stride,
                              int64_t length, float* out, int64_t head_size) {
  Vec acc[kHeads][kVectors];
  for (int g = 0; g < kHeads; ++g) {
    for (int i = 0; i < kVectors; ++i) acc[g][i] = splat(0.0f);
  }
  for (int64_t j = 0; j < length; ++j) {
    Vec v[kVectors];
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) v[i] = load_as<kType>(advance(values, kType, j * stride + i * kLanes));
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g) {
      const Vec p = splat(scores[g * scores_stride + j]);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) acc[g][i] = fma(p, v[i], acc[g][i]);
    }
  }
  for (int g = 0; g < kHeads; ++g) {
    for (int i = 0; i < kVectors; ++i) store(out + g * head_size + i * kLanes, acc[g][i]);
  }
}

template <Type kType, int kHeads>
static void decode_heads(const DecodeJob& job, const DecodeTask& task, int64_t head, float* query,
                         float* scores, float* out) {
  const int64_t size = job.head_size, scores_stride = job.max_length;
  for (int g = 0; g < kHeads; ++g) {
    const void* from = advance(job.q, kType, task.row * job.q_stride_row + (head + g) * job.q_stride_head);
    widen_as<kType>(from, size, query + g * size);
    for (int64_t d = 0; d < size; ++d) query[g * size + d] *= job.scale_log2;
  }
  const void* keys = advance(job.k, kType, task.k_offset);
  const void* values = advance(job.v, kType, task.v_offset);
  decode_scores<kType, kHeads>(query, keys, job.k_stride_token, task.length, size, scores, scores_stride);
  float inverse[kHeads];
  for (int g = 0; g < kHeads; ++g) inverse[g] = decode_softmax(scores + g * scores_stride, task.length);
  constexpr int kVectors = kLanes >= 16 ? 4 : 2;
  int64_t d = 0;
  for (; d + kVectors * kLanes <= size; d += kVectors * kLanes) {
    decode_values<kType, kHeads, kVectors>(scores, scores_stride, advance(values, kType, d),
                                           job.v_stride_token, task.length, out + d, size);
  }
  for (; d + kLanes <= size; d += kLanes) {
    decode_values<kType, kHeads, 1>(scores, scores_stride, advance(values, kType, d), job.v_stride_token,
                                    task.length, out + d, size);
  }
  for (; d < size; ++d) {
    for (int g = 0; g < kHeads; ++g) {
      float sum = 0;
      for (int64_t j = 0; j < task.length; ++j) {
        sum += scores[g * scores_stride + j] * load_one(values, kType, j * job.v_stride_token + d);
      }
      out[g * size + d] = sum;
    }
  }
  for (int g = 0; g < kHeads; ++g) {
    void* to = const_cast<void*>(
        advance(job.out, kType, task.row * job.out_stride_row + (head + g) * job.out_stride_head));
    for (d = 0; d < size; ++d) store_one(to, kType, d, out[g * size + d] * inverse[g]);
  }
}

static size_t decode_scratch(const DecodeJob& job) {
  return static_cast<size_t>(kHeadsAtOnce * (2 * job.head_size + job.max_length + kLanes)) * sizeof(float);
}

template <Type kType>
static void decode_task(const DecodeJob& job, const DecodeTask& task, void* scratch) {
  float* query = static_cast<float*>(scratch);
  float* out = query + kHeadsAtOnce * job.head_size;
  float* scores = out + kHeadsAtOnce * job.head_size;
  const int64_t end = (task.key_head + 1) * job.group;
  for (int64_t head = task.key_head * job.group; head < end; head += kHeadsAtOnce) {
    switch (end - head) {
      case 1:
        decode_heads<kType, 1>(job, task, head, query, scores, out);
        break;
      case 2:
        decode_heads<kType, 2>(job, task, head, query, scores, out);
        break;
      case 3:
        decode_heads<kType, 3>(job, task, head, query, scores, out);
        break;
      default:
        decode_heads<kType, 4>(job, task, head, query, scores, out);
        break;
    }
  }
}

static void decode(const DecodeJob& job, const DecodeTask& task, void* scratch) {
  switch (job.type) {
    case Type::float32:
      return decode_task<Type::float32>(job, task, scratch);
    case Type::bfloat16:
      return decode_task<Type::bfloat16>(job, task, scratch);
    case Type::float16:
      return decode_task<Type::float16>(job, task, scratch);
  }
}

}  // namespace PAN_HOT_NAMESPACE
}  // namespace pan::kernels::cpu
