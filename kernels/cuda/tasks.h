// How the host cuts the attention statistics into blocks: plain C++ without CUDA, shared by the launches
// (attention_stats.cpp) and the emulation that tests them.
//
//   const RowSlots slots = row_slots(options.heads, num_heads, group);
//   const auto tasks = row_tasks(cu_seqlens, first_row, slots, positions);
//
// Positions count inside a sequence. All integers must fit 32 bits; the caller has checked that.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/device/jobs.h"

namespace pan::kernels::cuda {

// The chosen query heads, those of one key head together.
struct RowSlots {
  std::vector<device::HeadSlot> slots;
  std::vector<int32_t> bounds;  // where the slots of each key head begin, and the end of the last
  int32_t most = 0;             // slots of one key head
};
RowSlots row_slots(const std::vector<int64_t>& chosen, int64_t num_heads, int64_t group);

// Longest rows first. `positions`: device::row_stats_positions of slots.most.
std::vector<device::RowsTask> row_tasks(const std::vector<int64_t>& cu_seqlens,
                                        const std::vector<int64_t>& first_row, const RowSlots& slots,
                                        int64_t positions);

std::vector<device::BandTask> band_tasks(const std::vector<int64_t>& cu_seqlens);

std::vector<device::FaiTask> fai_tasks(const std::vector<int64_t>& cu_seqlens,
                                       const std::vector<int64_t>& first_row);

struct AnchorTasks {
  std::vector<device::AnchorTask> tasks;
  std::vector<int32_t> keys;  // of all steps end to end
};
AnchorTasks anchor_tasks(const std::vector<int64_t>& cu_seqlens, const std::vector<int64_t>& step_of,
                         const std::vector<std::vector<int64_t>>& anchors);

}  // namespace pan::kernels::cuda
