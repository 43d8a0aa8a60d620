// ATen's element types as those of the hot loops.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/cpu/hot.h"

namespace pan::kernels::cpu {

// The dispatcher lets only these three through.
inline Type type_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kBFloat16:
      return Type::bfloat16;
    case at::kHalf:
      return Type::float16;
    default:
      return Type::float32;
  }
}

}  // namespace pan::kernels::cpu
