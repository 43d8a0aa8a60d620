#include "core/rng.h"

#include <cmath>
#include <numbers>

namespace pan::core::rng {
namespace {

// SplitMix64 finaliser: spreads the key fields over the Philox key and counter words.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

double to_unit(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

}  // namespace

std::array<uint32_t, 4> philox(const Key& key, uint32_t block) {
  const uint64_t k = mix(key.seed ^ mix(static_cast<uint64_t>(key.purpose)));
  uint32_t k0 = static_cast<uint32_t>(k), k1 = static_cast<uint32_t>(k >> 32);
  const uint64_t position = key.position ^ (key.sequence & 0xFFFFFFFF00000000ull);
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32),
                               static_cast<uint32_t>(key.sequence), block};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

double uniform(const Key& key) {
  const auto w = philox(key, 0);
  return to_unit(static_cast<uint64_t>(w[1]) << 32 | w[0]);
}

uint64_t Stream::next_u64() {
  if (used_ == 2) {
    words_ = philox(key_, block_++);
    used_ = 0;
  }
  const size_t i = 2 * static_cast<size_t>(used_++);
  return static_cast<uint64_t>(words_[i + 1]) << 32 | words_[i];
}

double Stream::uniform() { return to_unit(next_u64()); }

double Stream::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t Stream::below(uint64_t bound) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;  // a multiple of bound: no modulo bias below it
  for (;;) {
    const uint64_t x = next_u64();
    if (x < limit) return x % bound;
  }
}

}  // namespace pan::core::rng
