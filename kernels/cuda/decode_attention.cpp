#include "kernels/decode_attention.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/host.h"
#include "kernels/dispatch.h"

namespace pan::kernels::cuda {

void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window) {
  const int64_t num_rows = q.size(0), num_heads = q.size(1), head_size = q.size(2);
  if (num_rows == 0) return;
  TORCH_CHECK_VALUE(head_size <= kMaxHeadSize, "decode attention on a GPU takes a head size up to ",
                    kMaxHeadSize, ", got ", head_size);
  TORCH_CHECK_VALUE(num_rows <= device::kMaxGridY, "decode attention on a GPU takes up to ",
                    device::kMaxGridY, " rows, got ", num_rows);
  const c10::DeviceGuard guard(q.device());
  // Caches made by KvCache are aligned where the head size is a multiple of 16 bytes; others are copied at
  // every call.
  const at::Tensor queries = aligned(q), keys = aligned(k_cache), values = aligned(v_cache);
  at::Tensor result = aligned(out);
  std::vector<device::DecodeRow> rows;
  int64_t longest = 0;
  for (size_t b = 0; b < slots.size(); ++b) {
    const int64_t visible = sliding_window > 0 ? std::min(sliding_window, lengths[b]) : lengths[b];
    const int64_t first = lengths[b] - visible;
    rows.push_back({slots[b] * keys.stride(0) + first * keys.stride(2),
                    slots[b] * values.stride(0) + first * values.stride(2), static_cast<int32_t>(visible)});
    longest = std::max(longest, visible);
  }
  const int32_t num_splits = device::decode_splits(checked_int(longest, "length"));
  at::Tensor partial;
  if (num_splits > 1) {
    partial =
        at::empty({num_rows, num_heads, num_splits, queries.size(2) + 2}, q.options().dtype(at::kFloat));
  }
  const at::Tensor rows_there = upload(rows, q);
  const device::DecodeJob job{queries.const_data_ptr(),
                              keys.const_data_ptr(),
                              values.const_data_ptr(),
                              result.mutable_data_ptr(),
                              data_of<device::DecodeRow>(rows_there),
                              queries.stride(0),
                              queries.stride(1),
                              keys.stride(1),
                              keys.stride(2),
                              values.stride(1),
                              values.stride(2),
                              result.stride(0),
                              result.stride(1),
                              static_cast<int32_t>(queries.size(2)),
                              static_cast<int32_t>(num_heads / k_cache.size(1)),
                              static_cast<int32_t>(num_heads),
                              num_splits,
                              static_cast<float>(scale * kLog2E),
                              num_splits > 1 ? partial.mutable_data_ptr<float>() : nullptr};
  check_launch(launch_decode(element_type(q), job, static_cast<int>(num_rows), stream_of(q)),
               "decode_attention");
  if (!result.is_same(out)) out.copy_(result.narrow(2, 0, head_size));
}

}  // namespace pan::kernels::cuda
