#include "kernels/cuda/device/fai.h"

#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {
namespace {

template <class T, int kD>
__global__ void __launch_bounds__(device::kThreads) fai_kernel(const __grid_constant__ device::FaiJob job) {
  device::fai_block<T, kD>(job);
}

}  // namespace

int launch_fai(ElementType type, const device::FaiJob& job, int num_tasks, int num_heads, Stream stream) {
  return with_element(type, job.heads.head_size, [&](auto element, auto size) {
    using T = decltype(element);
    constexpr int kD = decltype(size)::value;
    const dim3 grid(static_cast<unsigned>(num_tasks), static_cast<unsigned>(num_heads));
    return launch<device::fai_shared_bytes<T, kD>()>(fai_kernel<T, kD>, grid, device::kThreads, stream, job);
  });
}

}  // namespace pan::kernels::cuda
