// Launches of the device kernels: plain C++, neither ATen nor CUDA headers, so that nvcc sees little and the
// host code runs without CUDA in the tests, where the emulation takes the place of the .cu files.
//
//   check_launch(launch_row_stats(ElementType::bfloat16, job, num_tasks, stream_of(q)), "row_stats");
//
// Jobs are those of device/jobs.h: pointers into device memory, alignment as written there. Every function
// returns the cudaError_t of its launch (not of its execution), does nothing for an empty grid and neither
// waits nor allocates.
#pragma once

#include "kernels/cuda/device/jobs.h"
#include "kernels/cuda/element_type.h"

struct CUstream_st;

namespace pan::kernels::cuda {

using Stream = CUstream_st*;  // cudaStream_t

int launch_row_stats(ElementType type, const device::RowStatsJob& job, int num_tasks, Stream stream);
int launch_band(ElementType type, const device::BandJob& job, int num_tasks, Stream stream);
int launch_fai(ElementType type, const device::FaiJob& job, int num_tasks, int num_heads, Stream stream);
int launch_anchor(ElementType type, const device::AnchorJob& job, int num_tasks, int num_heads,
                  Stream stream);
// The merge of the splits included.
int launch_decode(ElementType type, const device::DecodeJob& job, int num_rows, Stream stream);

// Logits in float32.
int launch_logprob_reduce(const device::LogprobReduceJob& job, int num_rows, Stream stream);
int launch_logprob_finish(const device::LogprobFinishJob& job, Stream stream);
// The gradient in float32 or bfloat16.
int launch_logprob_gradient(ElementType out, const device::LogprobGradientJob& job, int num_rows,
                            Stream stream);

}  // namespace pan::kernels::cuda
