// How the host cuts the kernels' work into blocks: plain C++ without CUDA, shared by the launches
// (attention_stats.cpp, logprob_entropy.cpp) and the emulation that tests them.
//
//   const RowSlots slots = row_slots(options.heads, num_heads, group);
//   const auto tasks = row_tasks(cu_seqlens, first_row, slots, positions);
//
// Positions count inside a sequence. All integers must fit 32 bits; the caller has checked that.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/device/jobs.h"
#include "kernels/cuda/element_type.h"

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

// Diagonals of attention_band whose key tiles fit the second dimension of a grid.
constexpr int64_t kMaxBandWidth =
    static_cast<int64_t>(device::kMaxGridY) * device::kTileRows - (device::kTileRows - 1);

constexpr int64_t kPanelRows = 512;     // of a tile of logits
constexpr int64_t kTileColumns = 8192;  // the same
// Rows of a tile of logits in the backward pass: whole panels as far as chunk_bytes goes, at least one, with
// `bytes` for each logit.
int64_t logprob_backward_rows(int64_t num_rows, int64_t vocab, int64_t chunk_bytes, int64_t bytes);

struct AnchorTasks {
  std::vector<device::AnchorTask> tasks;
  std::vector<int32_t> keys;  // of all steps end to end
};
AnchorTasks anchor_tasks(const std::vector<int64_t>& cu_seqlens, const std::vector<int64_t>& step_of,
                         const std::vector<std::vector<int64_t>>& anchors);

}  // namespace pan::kernels::cuda
