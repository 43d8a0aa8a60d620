// Independent tasks over threads, with scratch memory of their own.
#pragma once

#include <ATen/Parallel.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace pan::kernels::cpu {

// 64-byte aligned, not initialised. From the allocator of tensors, so that who counts their memory counts it.
inline c10::DataPtr aligned_scratch(size_t bytes) {
  return c10::GetCPUAllocator()->allocate(std::max<size_t>(bytes, 1));
}

// run(task, scratch) for every task of [0, count), each exactly once. Threads take the next task when they
// are done with one, so tasks may differ in length; a task must write only what is its own. `max_threads`:
// how many the work is worth; with 1 no other thread is woken.
template <class Run>
void run_tasks(int64_t count, size_t scratch_bytes, Run run,
               int64_t max_threads = std::numeric_limits<int64_t>::max()) {
  std::atomic<int64_t> next{0};
  const int64_t num_threads = std::min({count, max_threads, static_cast<int64_t>(at::get_num_threads())});
  at::parallel_for(0, num_threads, 1, [&](int64_t, int64_t) {
    const auto scratch = aligned_scratch(scratch_bytes);
    for (int64_t task = next++; task < count; task = next++) run(task, scratch.get());
  });
}

}  // namespace pan::kernels::cpu
