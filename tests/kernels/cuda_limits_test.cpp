// The limits of the CUDA grids, which need no GPU to be checked.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda/tasks.h"
#include "kernels/supports.h"

namespace pan::kernels::testing {
namespace {

TEST(CudaLimits, AreSaidBeforeTheFirstCall) {
  EXPECT_TRUE(supports({.device = at::kCUDA, .head_size = 256}).yes);
  const Support support = supports({.device = at::kCUDA, .type = at::kBFloat16, .head_size = 320});
  EXPECT_FALSE(support.yes);
  EXPECT_NE(support.why_not.find("head size of 320 is above 256"), std::string::npos) << support.why_not;
}

TEST(CudaLimits, TheWidestBandFillsTheGrid) {
  const int width = static_cast<int>(cuda::kMaxBandWidth);
  EXPECT_EQ(device::band_key_tiles(0, width - 1), device::kMaxGridY);
  EXPECT_EQ(device::band_key_tiles(0, width), device::kMaxGridY + 1);
}

TEST(CudaLimits, RowsOfABackwardTileFitTheGrid) {
  for (int64_t vocab : {1, 128, 49152}) {
    for (int64_t chunk_bytes : {int64_t{1}, int64_t{64} << 20, int64_t{1} << 40}) {
      const int64_t rows = cuda::logprob_backward_rows(1 << 20, vocab, chunk_bytes, 4);
      EXPECT_LE(rows, device::kMaxGridY);
      EXPECT_GE(rows, cuda::kPanelRows);
      EXPECT_EQ(rows % cuda::kPanelRows, 0);
    }
  }
  EXPECT_EQ(cuda::logprob_backward_rows(100, 128, 64 << 20, 4), 100);
}

TEST(CudaLimits, EveryTokenAndHeadIsInOneTask) {
  const std::vector<int64_t> cu{0, 3, 3, 300}, first_row{1, 0, 100};
  const cuda::RowSlots slots = cuda::row_slots({}, 40, 20);
  std::vector<int> seen(40 * 300, 0);
  for (const device::RowsTask& task : cuda::row_tasks(cu, first_row, slots, 8)) {
    for (int t = task.t_begin; t < task.t_end; ++t) {
      for (int i = 0; i < task.slot_count; ++i) {
        const device::HeadSlot slot = slots.slots[static_cast<size_t>(task.slot_begin + i)];
        EXPECT_EQ(slot.head / 20, slots.slots[static_cast<size_t>(task.slot_begin)].head / 20);
        ++seen[static_cast<size_t>(slot.out_row * 300 + task.sequence_begin + t)];
      }
    }
  }
  for (int n = 0; n < 300; ++n)
    EXPECT_EQ(seen[static_cast<size_t>(17 * 300 + n)], n == 0 || (n >= 3 && n < 103) ? 0 : 1);
}

}  // namespace
}  // namespace pan::kernels::testing
