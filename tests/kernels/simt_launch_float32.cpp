#include "kernels/simt_launch.inl"

namespace pan::kernels::testing {
template struct Emulated<float>;

void emulated_logprob_finish(const device::LogprobFinishJob& job) {
  simt::launch({.grid = {(job.rows + device::kLogprobThreads - 1) / device::kLogprobThreads, 1, 1},
                .threads = device::kLogprobThreads},
               [&] { device::logprob_finish_block(job); });
}
}  // namespace pan::kernels::testing
