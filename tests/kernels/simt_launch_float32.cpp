#include "kernels/simt_launch.inl"

namespace pan::kernels::testing {
template struct Emulated<float>;

void emulated_logprob_reduce(const device::LogprobReduceJob& job, int rows) {
  simt::launch({.grid = {rows, 1, 1},
                .threads = device::kLogprobThreads,
                .shared_bytes = device::logprob_reduce_shared_bytes()},
               [&] { device::logprob_reduce_block<float>(job); });
}

void emulated_logprob_gradient(cuda::ElementType out, const device::LogprobGradientJob& job, int rows) {
  const simt::Launch launch{.grid = {device::logprob_gradient_blocks(job.columns), rows, 1},
                            .threads = device::kLogprobThreads};
  if (out == cuda::ElementType::bfloat16)
    return simt::launch(launch, [&] { device::logprob_gradient_block<float, device::Bf16>(job); });
  simt::launch(launch, [&] { device::logprob_gradient_block<float, float>(job); });
}

void emulated_logprob_finish(const device::LogprobFinishJob& job) {
  simt::launch({.grid = {(job.rows + device::kLogprobThreads - 1) / device::kLogprobThreads, 1, 1},
                .threads = device::kLogprobThreads},
               [&] { device::logprob_finish_block(job); });
}
}  // namespace pan::kernels::testing
