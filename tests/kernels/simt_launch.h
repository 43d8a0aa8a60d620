// Jobs of the device code on the emulation (support/simt.h), with the launch geometry of
// kernels/cuda/device/jobs.h and the instantiations that kernels/cuda/element_type.h chooses;
// simt_runtime.cpp makes them the launches that the host code of kernels/cuda calls. One element type per
// source file: the instantiations take their time to compile.
#pragma once

#include "kernels/cuda/device/jobs.h"

namespace pan::kernels::testing {

template <class T>
struct Emulated {
  static void row_stats(const device::RowStatsJob& job, int num_tasks);
  static void band(const device::BandJob& job, int num_tasks);
  static void fai(const device::FaiJob& job, int num_tasks, int num_heads);
  static void anchor(const device::AnchorJob& job, int num_tasks, int num_heads);
  static void decode(const device::DecodeJob& job, int num_rows);
};

}  // namespace pan::kernels::testing
