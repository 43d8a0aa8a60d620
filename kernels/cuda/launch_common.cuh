// One launch with its checks. Included by the .cu files only.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/launch.h"

namespace pan::kernels::cuda {

constexpr size_t kDefaultSharedBytes = 48 * 1024;

template <class Job>
cudaError_t launch(void (*kernel)(Job), dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream,
                   const Job& job) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return cudaSuccess;
  if (shared_bytes > kDefaultSharedBytes) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                   static_cast<int>(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, threads, shared_bytes, stream>>>(job);
  return cudaGetLastError();
}

}  // namespace pan::kernels::cuda
