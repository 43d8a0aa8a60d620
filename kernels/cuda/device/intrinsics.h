// The only door of the device code to the machine: indices, shared memory, barriers, shuffles, votes,
// asynchronous copies, matrix fragments, arithmetic. Two implementations: PTX for sm_80 and later, and an
// emulation on the CPU (tests/support/simt.h), which checks what the hardware does not.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jobs.h"

#ifdef __CUDACC__
#define PAN_DEVICE __device__ __forceinline__
#define PAN_UNROLL _Pragma("unroll")
#define PAN_NO_UNROLL _Pragma("unroll 1")
#else
#include <cmath>
#include <cstring>
#define PAN_DEVICE inline
#define PAN_UNROLL
#define PAN_NO_UNROLL
#endif

namespace pan::kernels::device {

constexpr unsigned kFullWarp = 0xffffffffu;

struct alignas(16) Vec4 {
  float v[4];
};
struct alignas(16) Bits4 {
  uint32_t v[4];
};
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T v[2];
};

#ifdef __CUDACC__

// ---- sm_80 and later ----

template <class T>
using Shared = T*;  // a pointer into shared memory

PAN_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
PAN_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
PAN_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
PAN_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }
PAN_DEVICE int grid_x() { return static_cast<int>(gridDim.x); }

extern __shared__ __align__(16) unsigned char pan_shared_memory[];

// The dynamic shared memory from byte `offset` on.
template <class T>
PAN_DEVICE Shared<T> shared_at(size_t offset) {
  return reinterpret_cast<T*>(pan_shared_memory + offset);
}
// V at an address aligned to its size.
template <class V, class T>
PAN_DEVICE V load_as(T* from) {
  return *reinterpret_cast<const V*>(from);
}
template <class V, class T>
PAN_DEVICE V load_global(const T* from) {
  return *reinterpret_cast<const V*>(from);
}

template <class V, class T>
PAN_DEVICE void store_global(T* to, const V& value) {
  *reinterpret_cast<V*>(to) = value;
}

PAN_DEVICE void sync_block() { __syncthreads(); }
PAN_DEVICE void sync_warp() { __syncwarp(); }
PAN_DEVICE float shuffle_xor(float value, int lanes) { return __shfl_xor_sync(kFullWarp, value, lanes); }
PAN_DEVICE float broadcast(float value, int lane) { return __shfl_sync(kFullWarp, value, lane); }
PAN_DEVICE bool vote_any(bool value) { return __any_sync(kFullWarp, value) != 0; }
PAN_DEVICE bool vote_all(bool value) { return __all_sync(kFullWarp, value) != 0; }

PAN_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global memory, or zeros where not `valid`; invisible until waited for.
template <class T>
PAN_DEVICE void copy_async(T* to, const T* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes)
               : "memory");
}
// Closes the group of copies since the last one.
PAN_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most kPending groups of this thread are on their way.
template <int kPending>
PAN_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements: lane i gives the address of row i % 8 of matrix i / 8; register m
// receives elements 2 (lane % 4) and the next of row lane / 4 of matrix m.
template <class T>
PAN_DEVICE void load_matrix_x4(uint32_t (&r)[4], const T* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c[16 x 8] += a[16 x 16] b[16 x 8], float32 sums; mma_first: = instead of +=.
#define PAN_MMA(T, type)                                                                        \
  PAN_DEVICE void mma(T, float(&c)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) {       \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                  \
        ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"                          \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                        \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                        \
  }                                                                                             \
  PAN_DEVICE void mma_first(T, float(&c)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) { \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                  \
        ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};\n"                      \
        : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])                                        \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));             \
  }
PAN_MMA(Bf16, "bf16")
PAN_MMA(Fp16, "f16")
#undef PAN_MMA

// The same value, but nothing the compiler knows about it, so that what is worked out from it is not kept in
// registers from elsewhere.
PAN_DEVICE int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

PAN_DEVICE float exp2_fast(float x) {  // relative error 2^-22; subnormal results are 0
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
PAN_DEVICE float log_natural(float x) { return logf(x); }
PAN_DEVICE float mul_add(float a, float b, float c) { return fmaf(a, b, c); }
PAN_DEVICE float mul_up(float a, float b) { return __fmul_ru(a, b); }  // rounded towards +infinity
PAN_DEVICE float mul(float a, float b) { return __fmul_rn(a, b); }     // never part of a fused multiply-add
PAN_DEVICE float max_of(float a, float b) { return fmaxf(a, b); }
PAN_DEVICE float min_of(float a, float b) { return fminf(a, b); }
PAN_DEVICE float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000u)); }

PAN_DEVICE float bits_to_float(uint32_t bits) { return __uint_as_float(bits); }
PAN_DEVICE uint32_t float_to_bits(float x) { return __float_as_uint(x); }
PAN_DEVICE float to_float(Fp16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;\n" : "=f"(y) : "h"(x.bits));
  return y;
}
PAN_DEVICE void from_float(float x, Fp16& to) { asm("cvt.rn.f16.f32 %0, %1;\n" : "=h"(to.bits) : "f"(x)); }

#else

// ---- emulation: what tests/support/simt.cpp implements ----

namespace emulated {
struct Place {
  int thread = 0;
  int block[3] = {0, 0, 0};
  int grid[3] = {1, 1, 1};
};
const Place& place();
void sync_block();
void sync_warp(uint32_t mask);
uint32_t shuffle_xor(uint32_t mask, uint32_t value, int lanes);
uint32_t shuffle(uint32_t mask, uint32_t value, int lane);
uint32_t vote(uint32_t mask, bool value);  // the lanes that say yes
void shared_read(size_t offset, void* to, size_t bytes, size_t alignment);
void shared_write(size_t offset, const void* from, size_t bytes, size_t alignment);
void copy_async(size_t to, const void* from, bool valid);
void commit_copies();
void wait_copies(int pending);
void load_matrix_x4(uint32_t (&r)[4], size_t row);
void mma(bool bfloat16, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
float mul_up(float a, float b);
float half_to_float(uint16_t bits);
uint16_t float_to_half(float x);
}  // namespace emulated

// An address in shared memory; every access is checked.
template <class T>
class Shared {
 public:
  class Reference {
   public:
    explicit Reference(size_t offset) : offset_(offset) {}
    operator T() const {
      T value;
      emulated::shared_read(offset_, &value, sizeof(T), alignof(T));
      return value;
    }
    const Reference& operator=(const T& value) const {
      emulated::shared_write(offset_, &value, sizeof(T), alignof(T));
      return *this;
    }
    const Reference& operator=(const Reference& other) const { return *this = static_cast<T>(other); }

   private:
    size_t offset_;
  };

  explicit Shared(size_t offset) : offset_(offset) {}
  Reference operator[](int64_t i) const { return Reference((*this + i).offset_); }
  Shared operator+(int64_t i) const {
    return Shared(static_cast<size_t>(static_cast<int64_t>(offset_) + i * static_cast<int64_t>(sizeof(T))));
  }
  size_t offset() const { return offset_; }

 private:
  size_t offset_;
};

PAN_DEVICE int thread_index() { return emulated::place().thread; }
PAN_DEVICE int block_x() { return emulated::place().block[0]; }
PAN_DEVICE int block_y() { return emulated::place().block[1]; }
PAN_DEVICE int block_z() { return emulated::place().block[2]; }
PAN_DEVICE int grid_x() { return emulated::place().grid[0]; }

template <class T>
PAN_DEVICE Shared<T> shared_at(size_t offset) {
  return Shared<T>(offset);
}
template <class V, class T>
PAN_DEVICE V load_as(Shared<T> from) {
  V value;
  emulated::shared_read(from.offset(), &value, sizeof(V), alignof(V));
  return value;
}
template <class V, class T>
PAN_DEVICE V load_global(const T* from) {
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}

template <class V, class T>
PAN_DEVICE void store_global(T* to, const V& value) {
  std::memcpy(to, &value, sizeof(V));
}

PAN_DEVICE void sync_block() { emulated::sync_block(); }
PAN_DEVICE void sync_warp() { emulated::sync_warp(kFullWarp); }
PAN_DEVICE float bits_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
PAN_DEVICE uint32_t float_to_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(x));
  return bits;
}
PAN_DEVICE float shuffle_xor(float value, int lanes) {
  return bits_to_float(emulated::shuffle_xor(kFullWarp, float_to_bits(value), lanes));
}
PAN_DEVICE float broadcast(float value, int lane) {
  return bits_to_float(emulated::shuffle(kFullWarp, float_to_bits(value), lane));
}
PAN_DEVICE bool vote_any(bool value) { return emulated::vote(kFullWarp, value) != 0; }
PAN_DEVICE bool vote_all(bool value) { return emulated::vote(kFullWarp, value) == kFullWarp; }

template <class T>
PAN_DEVICE void copy_async(Shared<T> to, const T* from, bool valid) {
  emulated::copy_async(to.offset(), from, valid);
}
PAN_DEVICE void commit_copies() { emulated::commit_copies(); }
template <int kPending>
PAN_DEVICE void wait_copies() {
  emulated::wait_copies(kPending);
}
template <class T>
PAN_DEVICE void load_matrix_x4(uint32_t (&r)[4], Shared<T> row) {
  emulated::load_matrix_x4(r, row.offset());
}
PAN_DEVICE void mma(Bf16, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulated::mma(true, c, a, b0, b1);
}
PAN_DEVICE void mma(Fp16, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulated::mma(false, c, a, b0, b1);
}
template <class T>
PAN_DEVICE void mma_first(T element, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  for (float& x : c) x = 0.0f;
  mma(element, c, a, b0, b1);
}

PAN_DEVICE int opaque(int x) { return x; }

PAN_DEVICE float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 1.17549435e-38f ? 0.0f : y;
}
PAN_DEVICE float log_natural(float x) { return std::log(x); }
PAN_DEVICE float mul_add(float a, float b, float c) { return std::fma(a, b, c); }
PAN_DEVICE float mul_up(float a, float b) { return emulated::mul_up(a, b); }
PAN_DEVICE float mul(float a, float b) { return a * b; }
PAN_DEVICE float max_of(float a, float b) { return std::fmax(a, b); }
PAN_DEVICE float min_of(float a, float b) { return std::fmin(a, b); }
PAN_DEVICE float minus_infinity() { return -HUGE_VALF; }
PAN_DEVICE float to_float(Fp16 x) { return emulated::half_to_float(x.bits); }
PAN_DEVICE void from_float(float x, Fp16& to) { to.bits = emulated::float_to_half(x); }

#endif

// ---- for both ----

PAN_DEVICE int lane_index() { return thread_index() % 32; }
PAN_DEVICE int warp_index() { return thread_index() / 32; }
PAN_DEVICE int max_of(int a, int b) { return a > b ? a : b; }
PAN_DEVICE int min_of(int a, int b) { return a < b ? a : b; }

PAN_DEVICE float to_float(float x) { return x; }
PAN_DEVICE float to_float(Bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }
PAN_DEVICE void from_float(float x, float& to) { to = x; }
PAN_DEVICE void from_float(float x, Bf16& to) {  // to nearest, ties to even; NaN stays NaN
  const uint32_t bits = float_to_bits(x);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to.bits = static_cast<uint16_t>(nan ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

}  // namespace pan::kernels::device
