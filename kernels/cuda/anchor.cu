#include "kernels/cuda/device/anchor.h"

#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {
namespace {

template <class T, int kD>
__global__ void __launch_bounds__(device::kThreads)
    anchor_kernel(const __grid_constant__ device::AnchorJob job) {
  device::anchor_block<T, kD>(job);
}

}  // namespace

int launch_anchor(ElementType type, const device::AnchorJob& job, int num_tasks, int num_heads,
                  Stream stream) {
  return with_element(type, job.heads.head_size, [&](auto element, auto size) {
    using T = decltype(element);
    constexpr int kD = decltype(size)::value;
    const dim3 grid(static_cast<unsigned>(num_tasks), static_cast<unsigned>(num_heads));
    return launch<device::anchor_shared_bytes<T, kD>()>(anchor_kernel<T, kD>, grid, device::kThreads, stream,
                                                        job);
  });
}

}  // namespace pan::kernels::cuda
