// Decode attention against the float64 reference.
#include "kernels/decode_attention.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/cases.h"
#include "kernels/reference/reference.h"

namespace pan::kernels::testing {
namespace {

struct DecodeShape {
  int64_t head_size, num_heads, num_key_heads, max_length, window;
  at::ScalarType type;
};

struct Cache {
  at::Tensor q, k, v;  // [B, H, D], [slots, Hkv, Tmax, D]
  std::vector<int64_t> slots, lengths;
};

Cache make_cache(const DecodeShape& s, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  auto normal = [&](std::vector<int64_t> shape) {
    return (at::randn(shape, generator, at::TensorOptions(at::kFloat)) * 1.5).to(s.type);
  };
  Cache cache;
  cache.slots = {4, 0, 2, 3};  // slot 1 belongs to nobody
  cache.lengths = {1, s.max_length, s.max_length / 2 + 1, std::min<int64_t>(17, s.max_length)};
  cache.q = normal({4, s.num_heads, s.head_size});
  cache.k = normal({5, s.num_key_heads, s.max_length, s.head_size});
  cache.v = normal({5, s.num_key_heads, s.max_length, s.head_size});
  // What lies behind a row's length must not matter, not even as NaN.
  cache.k[1].fill_(NAN);
  for (size_t b = 0; b < cache.slots.size(); ++b) {
    cache.k[cache.slots[b]].slice(1, cache.lengths[b]).fill_(NAN);
    cache.v[cache.slots[b]].slice(1, cache.lengths[b]).fill_(NAN);
  }
  return cache;
}

// Rounding the result to its type costs half a unit in the last place; the sums themselves are float32.
double bound_of(at::ScalarType type) {
  if (type == at::kBFloat16) return 1.0 / 256;
  if (type == at::kHalf) return 1.0 / 2048;
  return 1e-5;  // the rounding of a score (some eps |S|) is a relative error of its weight
}

using DecodeAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, DecodeAttention, ::testing::ValuesIn(kernel_devices()));

TEST_P(DecodeAttention, MatchesTheReference) {
  const DecodeShape shapes[] = {
      {64, 9, 3, 300, 0, at::kFloat},    {64, 14, 2, 129, 0, at::kBFloat16},
      {128, 32, 8, 65, 0, at::kHalf},    {80, 2, 2, 33, 0, at::kFloat},
      {96, 8, 1, 31, 0, at::kBFloat16},  {32, 4, 4, 1, 0, at::kFloat},
      {256, 4, 2, 100, 0, at::kFloat},   {20, 6, 2, 47, 0, at::kHalf},
      {64, 4, 2, 200, 16, at::kFloat},   {7, 5, 1, 64, 1, at::kBFloat16},
      {64, 3, 1, 4099, 0, at::kFloat},   {33, 3, 3, 16, 0, at::kFloat},
      {32, 8, 1, 700, 0, at::kBFloat16}, {32, 17, 1, 50, 300, at::kHalf},
      {64, 2, 2, 600, 257, at::kFloat},  {256, 2, 1, 40, 0, at::kHalf},
      {128, 4, 2, 65, 0, at::kHalf},     {96, 3, 3, 64, 40, at::kFloat},
      {80, 2, 1, 33, 0, at::kBFloat16},  {256, 1, 1, 70, 0, at::kFloat},
      {72, 5, 1, 513, 0, at::kBFloat16},
  };
  for (const DecodeShape& shape : shapes) {
    SCOPED_TRACE(::testing::Message()
                 << "D=" << shape.head_size << " H=" << shape.num_heads << "/" << shape.num_key_heads
                 << " Tmax=" << shape.max_length << " " << c10::toString(shape.type));
    const Cache cache = make_cache(shape, 31);
    at::Tensor out = on_device(at::empty_like(cache.q));
    decode_attention(on_device(cache.q), on_device(cache.k), on_device(cache.v), cache.slots, cache.lengths,
                     0.1, out, shape.window);
    const at::Tensor expected =
        reference::decode_attention(cache.q, cache.k, cache.v, cache.slots, cache.lengths, 0.1, shape.window);
    const at::Tensor error = (out.cpu().to(at::kDouble) - expected).abs();
    const at::Tensor bound = (expected.abs() + 0.5) * bound_of(shape.type);
    EXPECT_TRUE((error <= bound).all().item<bool>()) << error.max().item<double>();
  }
}

TEST_P(DecodeAttention, RowsAndThreadsChangeNothingBitForBit) {
  const Cache cache = make_cache({64, 9, 3, 150, 0, at::kFloat}, 32);
  const at::Tensor q = on_device(cache.q), k = on_device(cache.k), v = on_device(cache.v);
  at::Tensor together = at::empty_like(q);
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  decode_attention(q, k, v, cache.slots, cache.lengths, 0, together);
  at::set_num_threads(1);
  for (int64_t b = 0; b < 4; ++b) {
    at::Tensor alone = at::empty_like(q.slice(0, b, b + 1));
    decode_attention(q.slice(0, b, b + 1), k, v, {cache.slots[b]}, {cache.lengths[b]}, 0, alone);
    EXPECT_TRUE(at::equal(alone[0], together[b]));
  }
  at::set_num_threads(before);
}

TEST_P(DecodeAttention, WrongArgumentsAreValueErrors) {
  const Cache c = make_cache({64, 4, 2, 16, 0, at::kFloat}, 33);
  const at::Tensor q = on_device(c.q), k = on_device(c.k), v = on_device(c.v);
  at::Tensor out = at::empty_like(q), small = at::empty_like(q.slice(0, 0, 1));
  EXPECT_THROW(decode_attention(q, k, v, c.slots, {1, 2, 3}, 0, out), c10::ValueError);
  EXPECT_THROW(decode_attention(q, k, v, c.slots, {1, 2, 3, 0}, 0, out), c10::ValueError);
  EXPECT_THROW(decode_attention(q, k, v, c.slots, {1, 2, 3, 17}, 0, out), c10::ValueError);
  EXPECT_THROW(decode_attention(q, k, v, {0, 1, 2, 5}, c.lengths, 0, out), c10::ValueError);
  EXPECT_THROW(decode_attention(q, k, v.slice(2, 0, 8), c.slots, c.lengths, 0, out), c10::ValueError);
  EXPECT_THROW(decode_attention(q, k, v, c.slots, c.lengths, 0, small), c10::ValueError);
  EXPECT_THROW(decode_attention(q.to(at::kHalf), k, v, c.slots, c.lengths, 0, out), c10::ValueError);
}

}  // namespace
}  // namespace pan::kernels::testing
