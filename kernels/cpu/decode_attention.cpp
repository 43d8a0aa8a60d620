// Cuts decode attention into (row, key head) tasks.
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/hot.h"
#include "kernels/cpu/tasks.h"
#include "kernels/cpu/type_of.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cpu {

void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window) {
  constexpr double kLog2E = 1.4426950408889634;
  const int64_t num_rows = q.size(0), key_heads = k_cache.size(1);
  DecodeJob job{q.const_data_ptr(),
                k_cache.const_data_ptr(),
                v_cache.const_data_ptr(),
                out.data_ptr(),
                type_of(q),
                q.size(2),
                q.size(1) / key_heads,
                static_cast<float>(scale * kLog2E),
                q.stride(0),
                q.stride(1),
                out.stride(0),
                out.stride(1),
                k_cache.stride(2),
                v_cache.stride(2),
                0};
  int64_t num_products = 0;
  std::vector<DecodeTask> tasks;
  tasks.reserve(static_cast<size_t>(num_rows * key_heads));
  for (int64_t b = 0; b < num_rows; ++b) {
    const int64_t begin = sliding_window > 0 ? std::max<int64_t>(0, lengths[b] - sliding_window) : 0;
    const int64_t length = lengths[b] - begin;
    num_products += length * q.size(1) * q.size(2);
    job.max_length = std::max(job.max_length, (length + 15) / 16 * 16);
    for (int64_t head = 0; head < key_heads; ++head) {
      auto offset = [&](const at::Tensor& cache) {
        return slots[b] * cache.stride(0) + head * cache.stride(1) + begin * cache.stride(2);
      };
      tasks.push_back({b, head, offset(k_cache), offset(v_cache), length});
    }
  }
  const HotKernels& kernels = hot();
  constexpr int64_t kProductsPerThread = int64_t{1} << 16;  // about 5 microseconds
  run_tasks(
      static_cast<int64_t>(tasks.size()), kernels.decode_scratch(job),
      [&](int64_t i, void* scratch) { kernels.decode(job, tasks[i], scratch); },
      1 + num_products / kProductsPerThread);
}

}  // namespace pan::kernels::cpu
