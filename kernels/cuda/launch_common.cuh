// One launch with its checks. Included by the .cu files only.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/launch.h"

namespace pan::kernels::cuda {

constexpr size_t kDefaultSharedBytes = 48 * 1024;

template <size_t kSharedBytes, class Job>
cudaError_t launch(void (*kernel)(Job), dim3 grid, int threads, Stream stream, const Job& job) {
  static_assert(kSharedBytes <= device::kMaxSharedBytes);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  if (kSharedBytes > kDefaultSharedBytes) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(kSharedBytes));
    if (error != cudaSuccess) {
      cudaGetLastError();  // else the next launch of somebody else would report it too
      return error;
    }
  }
  kernel<<<grid, threads, kSharedBytes, stream>>>(job);
  return cudaGetLastError();
}

}  // namespace pan::kernels::cuda
