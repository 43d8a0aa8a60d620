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

}  // namespace pan::kernels::cuda
