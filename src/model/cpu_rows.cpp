#include "model/cpu_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/isa.h"

namespace pan::model::rows {
namespace {

// Sixteen lanes, whatever the processor: the compiler cuts them to its registers, and sums come out in the
// same order everywhere.
constexpr int64_t kLanes = 16;
using Vec = float __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Half = uint16_t __attribute__((vector_size(32)));

#define PAN_INLINE inline __attribute__((always_inline))

template <class T>
PAN_INLINE Vec load(const T* from, int64_t count) {
  if constexpr (std::is_same_v<T, float>) {
    Vec v = {};
    if (count >= kLanes) {
      std::memcpy(&v, from, sizeof v);
    } else {
      std::memcpy(&v, from, static_cast<size_t>(count) * sizeof(float));
    }
    return v;
  } else {
    Half h = {};
    if (count >= kLanes) {
      std::memcpy(&h, from, sizeof h);
    } else {
      std::memcpy(&h, from, static_cast<size_t>(count) * sizeof(uint16_t));
    }
    const Bits bits = __builtin_convertvector(h, Bits) << 16;
    Vec v;
    std::memcpy(&v, &bits, sizeof v);
    return v;
  }
}

// float32 to bfloat16: round to nearest, ties to even; NaN stays NaN.
PAN_INLINE Half narrow(Vec v) {
  Bits bits;
  std::memcpy(&bits, &v, sizeof bits);
  const Bits rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const Bits quiet = (bits >> 16) | 0x40u;
  const Bits is_nan = reinterpret_cast<Bits>(v != v);
  return __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), Half);
}

template <class T>
PAN_INLINE void store(T* to, Vec v, int64_t count) {
  if constexpr (std::is_same_v<T, float>) {
    if (count >= kLanes) {
      std::memcpy(to, &v, sizeof v);
    } else {
      std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(float));
    }
  } else {
    const Half h = narrow(v);
    if (count >= kLanes) {
      std::memcpy(to, &h, sizeof h);
    } else {
      std::memcpy(to, &h, static_cast<size_t>(count) * sizeof(uint16_t));
    }
  }
}

// Rounds to the type and back.
template <class T>
PAN_INLINE Vec rounded(Vec v) {
  if constexpr (std::is_same_v<T, float>) return v;
  const Bits bits = __builtin_convertvector(narrow(v), Bits) << 16;
  Vec out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

PAN_INLINE float sum(Vec v) {
  float total[kLanes];
  std::memcpy(total, &v, sizeof v);
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t i = 0; i < width; ++i) total[i] += total[i + width];
  return total[0];
}

// e^x within 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (coefficients of
// Cephes' expf).
PAN_INLINE Vec exp(Vec x) {
  const Vec low = Vec{} - 87.0f, high = Vec{} + 88.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  Vec shifted = x * 1.44269504088896341f + magic;
  __asm__("" : "+m"(shifted));  // keeps the sum from being simplified together with the next line
  const Vec n = shifted - magic;
  const Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints exponent = (__builtin_convertvector(n, Ints) + 127) << 23;
  Vec power;
  std::memcpy(&power, &exponent, sizeof power);
  return p * power;
}

// Row i is head i % heads of token i / heads; strides in elements.
struct NormJob {
  const void *x, *weight, *gradient;  // gradient: backward only, contiguous
  void *out, *gradient_x;
  float *inverse, *partial;  // [rows]; [blocks, width]
  int64_t stride_row, stride_head, heads, width;
  float eps;
};

template <class T>
PAN_INLINE void norm_body(const NormJob& job, int64_t begin, int64_t end) {
  const int64_t width = job.width;
  const T* weight = static_cast<const T*>(job.weight);
  for (int64_t i = begin; i < end; ++i) {
    const T* x =
        static_cast<const T*>(job.x) + i / job.heads * job.stride_row + i % job.heads * job.stride_head;
    T* out = static_cast<T*>(job.out) + i * width;
    Vec squares = {};
    for (int64_t c = 0; c < width; c += kLanes) {
      const Vec v = load(x + c, width - c);
      squares += v * v;
    }
    const float inverse = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(width) + job.eps);
    job.inverse[i] = inverse;
    for (int64_t c = 0; c < width; c += kLanes)
      store(out + c, rounded<T>(load(x + c, width - c) * inverse) * load(weight + c, width - c), width - c);
  }
}

// Rows are summed into the weight's gradient in blocks of fixed size, the blocks in order: independent of
// threads.
constexpr int64_t kBlockRows = 128;

template <class T>
PAN_INLINE void norm_backward_body(const NormJob& job, int64_t begin, int64_t end, int64_t block) {
  const int64_t width = job.width;
  const T* weight = static_cast<const T*>(job.weight);
  float* partial = job.partial + block * width;
  for (int64_t i = begin; i < end; ++i) {
    const T* x =
        static_cast<const T*>(job.x) + i / job.heads * job.stride_row + i % job.heads * job.stride_head;
    const T* gradient = static_cast<const T*>(job.gradient) + i * width;
    T* out = static_cast<T*>(job.gradient_x) + i * width;
    const float inverse = job.inverse[i];
    Vec dots = {};
    for (int64_t c = 0; c < width; c += kLanes) {
      const Vec g = load(gradient + c, width - c), normal = load(x + c, width - c) * inverse;
      dots += g * load(weight + c, width - c) * normal;
      store(partial + c, load(partial + c, width - c) + g * normal, width - c);
    }
    const float mean = sum(dots) / static_cast<float>(width);
    for (int64_t c = 0; c < width; c += kLanes) {
      const Vec g = load(gradient + c, width - c), normal = load(x + c, width - c) * inverse;
      store(out + c, (g * load(weight + c, width - c) - normal * mean) * inverse, width - c);
    }
  }
}

struct RotateJob {
  const void* x;
  void* out;
  const float *cos, *sin;
  int64_t stride_row, stride_head, heads, half;
  float sign;
};

template <class T>
PAN_INLINE void rotate_body(const RotateJob& job, int64_t begin, int64_t end) {
  const int64_t half = job.half;
  for (int64_t n = begin; n < end; ++n) {
    for (int64_t h = 0; h < job.heads; ++h) {
      const T* x = static_cast<const T*>(job.x) + n * job.stride_row + h * job.stride_head;
      T* out = static_cast<T*>(job.out) + (n * job.heads + h) * 2 * half;
      for (int64_t d = 0; d < half; d += kLanes) {
        const int64_t left = half - d;
        const Vec a = load(x + d, left), b = load(x + half + d, left);
        const Vec c = load(job.cos + n * half + d, left), s = load(job.sin + n * half + d, left) * job.sign;
        store(out + d, a * c - b * s, left);
        store(out + half + d, b * c + a * s, left);
      }
    }
  }
}

struct SiluJob {
  const void *gate_up, *gradient;
  void* out;
  int64_t width, stride;
};

template <class T>
PAN_INLINE void silu_body(const SiluJob& job, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    const T *gate = static_cast<const T*>(job.gate_up) + n * job.stride, *up = gate + job.width;
    T* out = static_cast<T*>(job.out) + n * job.width;
    for (int64_t c = 0; c < job.width; c += kLanes) {
      const int64_t left = job.width - c;
      const Vec g = load(gate + c, left);
      store(out + c, rounded<T>(g / (1.0f + exp(-g))) * load(up + c, left), left);
    }
  }
}

template <class T>
PAN_INLINE void silu_backward_body(const SiluJob& job, int64_t begin, int64_t end) {
  for (int64_t n = begin; n < end; ++n) {
    const T *gate = static_cast<const T*>(job.gate_up) + n * job.stride, *up = gate + job.width;
    const T* gradient = static_cast<const T*>(job.gradient) + n * job.width;
    T* out = static_cast<T*>(job.out) + n * 2 * job.width;
    for (int64_t c = 0; c < job.width; c += kLanes) {
      const int64_t left = job.width - c;
      const Vec g = load(gate + c, left), u = load(up + c, left), d = load(gradient + c, left);
      const Vec sigmoid = 1.0f / (1.0f + exp(-g));
      store(out + c, d * u * sigmoid * (1.0f + g * (1.0f - sigmoid)), left);
      store(out + job.width + c, d * g * sigmoid, left);
    }
  }
}

// Each body compiled for each instruction set; kernels/isa.h says which one runs.
#if defined(__x86_64__)
#define PAN_FOR_AVX2 __attribute__((target("avx2,fma")))
#define PAN_FOR_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#else
#define PAN_FOR_AVX2
#define PAN_FOR_AVX512
#endif

#define PAN_VARIANTS(name)                                            \
  template <class T, class Job, class... Range>                       \
  void name##_base(const Job& job, Range... range) {                  \
    name##_body<T>(job, range...);                                    \
  }                                                                   \
  template <class T, class Job, class... Range>                       \
  PAN_FOR_AVX2 void name##_avx2(const Job& job, Range... range) {     \
    name##_body<T>(job, range...);                                    \
  }                                                                   \
  template <class T, class Job, class... Range>                       \
  PAN_FOR_AVX512 void name##_avx512(const Job& job, Range... range) { \
    name##_body<T>(job, range...);                                    \
  }                                                                   \
  template <class T, class Job, class... Range>                       \
  void name(const Job& job, Range... range) {                         \
    switch (kernels::active_isa()) {                                  \
      case kernels::Isa::avx512:                                      \
        return name##_avx512<T>(job, range...);                       \
      case kernels::Isa::avx2:                                        \
        return name##_avx2<T>(job, range...);                         \
      case kernels::Isa::baseline:                                    \
        return name##_base<T>(job, range...);                         \
    }                                                                 \
  }

PAN_VARIANTS(norm)
PAN_VARIANTS(norm_backward)
PAN_VARIANTS(rotate)
PAN_VARIANTS(silu)
PAN_VARIANTS(silu_backward)

// Calls f(element type tag) for float32 or bfloat16.
template <class F>
void by_type(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kFloat) {
    f(float{});
  } else {
    f(uint16_t{});
  }
}

// Elements of work below which a second thread costs more than it saves.
constexpr int64_t kGrainElements = 16384;

int64_t grain_rows(int64_t width) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, width));
}

NormJob norm_job(const at::Tensor& x, const at::Tensor& weight) {
  NormJob job{};
  job.x = x.const_data_ptr();
  job.weight = weight.const_data_ptr();
  job.width = x.size(-1);
  job.heads = x.dim() == 3 ? x.size(1) : 1;
  job.stride_row = x.dim() == 1 ? 0 : x.stride(0);
  job.stride_head = x.dim() == 3 ? x.stride(1) : 0;
  return job;
}

}  // namespace

bool supports(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.dim() >= 1 &&
         x.dim() <= 3 && (x.stride(-1) == 1 || x.size(-1) == 1);
}

std::pair<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const int64_t num_rows = x.numel() / x.size(-1);
  at::Tensor out = at::empty(x.sizes(), x.options()),
             inverse = at::empty({num_rows}, x.options().dtype(at::kFloat));
  const at::Tensor packed_weight = weight.contiguous();
  NormJob job = norm_job(x, packed_weight);
  job.out = out.mutable_data_ptr();
  job.inverse = inverse.mutable_data_ptr<float>();
  job.eps = static_cast<float>(eps);
  by_type(x, [&](auto tag) {
    at::parallel_for(0, num_rows, grain_rows(job.width),
                     [&](int64_t begin, int64_t end) { norm<decltype(tag)>(job, begin, end); });
  });
  return {out, inverse};
}

std::pair<at::Tensor, at::Tensor> rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x,
                                                    const at::Tensor& weight, const at::Tensor& inverse) {
  const int64_t num_rows = x.numel() / x.size(-1), num_blocks = (num_rows + kBlockRows - 1) / kBlockRows;
  const at::Tensor packed = gradient.contiguous(), packed_weight = weight.contiguous();
  at::Tensor out = at::empty(x.sizes(), x.options());
  at::Tensor partial = at::zeros({num_blocks, x.size(-1)}, x.options().dtype(at::kFloat));
  NormJob job = norm_job(x, packed_weight);
  job.gradient = packed.const_data_ptr();
  job.gradient_x = out.mutable_data_ptr();
  job.inverse = inverse.mutable_data_ptr<float>();
  job.partial = partial.mutable_data_ptr<float>();
  by_type(x, [&](auto tag) {
    at::parallel_for(0, num_blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block)
        norm_backward<decltype(tag)>(job, block * kBlockRows, std::min((block + 1) * kBlockRows, num_rows),
                                     block);
    });
  });
  at::Tensor total = partial[0];
  for (int64_t block = 1; block < num_blocks; ++block) total.add_(partial[block]);
  return {out, total.to(weight.scalar_type())};
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool inverse) {
  at::Tensor out = at::empty(x.sizes(), x.options());
  const RotateJob job = {x.const_data_ptr(),
                         out.mutable_data_ptr(),
                         cos.const_data_ptr<float>(),
                         sin.const_data_ptr<float>(),
                         x.stride(0),
                         x.stride(1),
                         x.size(1),
                         x.size(2) / 2,
                         inverse ? -1.0f : 1.0f};
  by_type(x, [&](auto tag) {
    at::parallel_for(0, x.size(0), grain_rows(x.size(1) * x.size(2)),
                     [&](int64_t begin, int64_t end) { rotate<decltype(tag)>(job, begin, end); });
  });
  return out;
}

at::Tensor silu_mul(const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  at::Tensor out = at::empty({gate_up.size(0), width}, gate_up.options());
  const SiluJob job = {gate_up.const_data_ptr(), nullptr, out.mutable_data_ptr(), width, gate_up.stride(0)};
  by_type(gate_up, [&](auto tag) {
    at::parallel_for(0, gate_up.size(0), grain_rows(width),
                     [&](int64_t begin, int64_t end) { silu<decltype(tag)>(job, begin, end); });
  });
  return out;
}

at::Tensor silu_mul_backward(const at::Tensor& gradient, const at::Tensor& gate_up) {
  const at::Tensor packed = gradient.contiguous();
  at::Tensor out = at::empty(gate_up.sizes(), gate_up.options());
  const SiluJob job = {gate_up.const_data_ptr(), packed.const_data_ptr(), out.mutable_data_ptr(),
                       gate_up.size(1) / 2, gate_up.stride(0)};
  by_type(gate_up, [&](auto tag) {
    at::parallel_for(0, gate_up.size(0), grain_rows(gate_up.size(1)),
                     [&](int64_t begin, int64_t end) { silu_backward<decltype(tag)>(job, begin, end); });
  });
  return out;
}

}  // namespace pan::model::rows
