// Element types and head sizes at run time, turned into those of the device code at compile time.
#pragma once

#include <type_traits>

#include "kernels/cuda/device/jobs.h"

namespace pan::kernels::cuda {

enum class ElementType { float32, bfloat16, float16 };

constexpr int kMaxHeadSize = 256;

// The size the kernels are compiled for that holds `head_size` (1..kMaxHeadSize).
template <class F>
auto with_head_size(int head_size, const F& f) {
  if (head_size <= 32) return f(std::integral_constant<int, 32>());
  if (head_size <= 64) return f(std::integral_constant<int, 64>());
  if (head_size <= 80) return f(std::integral_constant<int, 80>());
  if (head_size <= 96) return f(std::integral_constant<int, 96>());
  if (head_size <= 128) return f(std::integral_constant<int, 128>());
  return f(std::integral_constant<int, 256>());
}

// f(element, size): element() is a value of the device's element type, size() the compiled head size.
template <class F>
auto with_element(ElementType type, int head_size, const F& f) {
  return with_head_size(head_size, [&](auto size) {
    switch (type) {
      case ElementType::bfloat16:
        return f(device::Bf16(), size);
      case ElementType::float16:
        return f(device::Fp16(), size);
      default:
        return f(float(), size);
    }
  });
}

// f(mask): the moment sums of a row_stats kernel that has at least those of `wanted`. Training asks for the
// entropies alone or for waad alone; anything else takes the kernel that has all sums.
template <class F>
auto with_wanted(unsigned wanted, const F& f) {
  constexpr unsigned kV = device::kWantV, kW = device::kWantW;
  if ((wanted & ~kV) == 0) return f(std::integral_constant<unsigned, kV>());
  if (wanted == kW) return f(std::integral_constant<unsigned, kW>());
  return f(std::integral_constant<unsigned, kV | device::kWantG | kW>());
}

// f(count): query heads that a block of decode_attention takes.
template <class F>
auto with_decode_heads(int group, const F& f) {
  switch (device::decode_heads(group)) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 4:
      return f(std::integral_constant<int, 4>());
    default:
      return f(std::integral_constant<int, 8>());
  }
}

}  // namespace pan::kernels::cuda
