// What the host side of every CUDA kernel needs: aligned tensors, checked sizes, and the few calls that reach
// the CUDA runtime (runtime.cpp; in the tests the emulation, tests/kernels/simt_runtime.cpp).
#pragma once

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include <limits>
#include <vector>

#include "kernels/cuda/device/jobs.h"
#include "kernels/cuda/element_type.h"
#include "kernels/cuda/launch.h"

namespace pan::kernels::cuda {

constexpr double kLog2E = 1.4426950408889634;

// The dispatcher lets only these three through.
inline ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kBFloat16:
      return ElementType::bfloat16;
    case at::kHalf:
      return ElementType::float16;
    default:
      return ElementType::float32;
  }
}

inline int32_t checked_int(int64_t value, const char* what) {
  TORCH_CHECK_VALUE(value >= 0 && value <= std::numeric_limits<int32_t>::max(), what, " = ", value,
                    " does not fit the GPU kernels' 32 bits");
  return static_cast<int32_t>(value);
}

inline int32_t checked_grid_y(int64_t value, const char* what) {
  TORCH_CHECK_VALUE(value >= 0 && value <= device::kMaxGridY, "a GPU takes up to ", device::kMaxGridY, " ",
                    what, " in one call, got ", value);
  return static_cast<int32_t>(value);
}

// The tensor itself where every row of its last dimension starts at a multiple of 16 bytes, else a copy whose
// last dimension is padded with zeros.
at::Tensor aligned(const at::Tensor& x);

// ---- the runtime ----

Stream stream_of(const at::Tensor& tensor);  // the current one of its device

// Throws what the launch of `kernel` returned, unless that is 0.
void check_launch(int error, const char* kernel);

// out = a b in float32, whatever the type of a and b.
void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

// A copy of host data on the device of `like`. The copy is queued on the current stream; the pinned memory
// it reads lives until then.
at::Tensor upload_bytes(const void* data, size_t bytes, const at::Tensor& like);
template <class T>
at::Tensor upload(const std::vector<T>& values, const at::Tensor& like) {
  return upload_bytes(values.data(), values.size() * sizeof(T), like);
}
template <class T>
const T* data_of(const at::Tensor& uploaded) {
  return static_cast<const T*>(uploaded.const_data_ptr());
}

}  // namespace pan::kernels::cuda
