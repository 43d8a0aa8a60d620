// Runs jobs of the device code on the emulation (support/simt.h), with the launch geometry of
// kernels/cuda/device/jobs.h and the instantiations that kernels/cuda/element_type.h chooses. One element
// type per source file: the instantiations take their time to compile.
#pragma once

#include "kernels/cuda/device/jobs.h"
#include "kernels/cuda/element_type.h"

namespace pan::kernels::testing {

template <class T>
struct Emulated {
  static int row_stats_positions(int head_size, int group);
  static void row_stats(const device::RowStatsJob& job, int num_tasks);
  static void band(const device::BandJob& job, int num_tasks);
  static void fai(const device::FaiJob& job, int num_tasks, int num_heads);
  static void anchor(const device::AnchorJob& job, int num_tasks, int num_heads);
  static void decode(const device::DecodeJob& job, int num_rows);
};

// Logits in float32; the gradient in float32 or bfloat16.
void emulated_logprob_reduce(const device::LogprobReduceJob& job, int rows);
void emulated_logprob_gradient(cuda::ElementType out, const device::LogprobGradientJob& job, int rows);
void emulated_logprob_finish(const device::LogprobFinishJob& job);

}  // namespace pan::kernels::testing
