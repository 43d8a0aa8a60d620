#include "kernels/cuda/device/band.h"

#include "kernels/cuda/launch_common.cuh"

namespace pan::kernels::cuda {
namespace {

template <class T, int kD>
__global__ void __launch_bounds__(device::kThreads) band_kernel(const __grid_constant__ device::BandJob job) {
  device::band_block<T, kD>(job);
}

}  // namespace

int launch_band(ElementType type, const device::BandJob& job, int num_tasks, Stream stream) {
  return with_element(type, job.heads.head_size, [&](auto element, auto size) {
    using T = decltype(element);
    constexpr int kD = decltype(size)::value;
    const dim3 grid(static_cast<unsigned>(num_tasks),
                    static_cast<unsigned>(device::band_key_tiles(job.lo, job.hi)));
    return launch<device::band_shared_bytes<T, kD>()>(band_kernel<T, kD>, grid, device::kThreads, stream,
                                                      job);
  });
}

}  // namespace pan::kernels::cuda
