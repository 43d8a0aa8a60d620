// The emulation in the place of kernels/cuda/runtime.cpp and of the .cu files, so that host and device code
// of kernels/cuda run as they are. "Device memory" is the process's own, and the public entries send tensors
// on the CPU here: every test of a kernel that is linked with this file is one of the CUDA kernel.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cstring>

#include "kernels/cases.h"
#include "kernels/cuda/device/logprob.h"
#include "kernels/cuda/host.h"
#include "kernels/cuda/launch.h"
#include "kernels/dispatch.h"
#include "kernels/simt_launch.h"
#include "support/simt.h"

namespace pan::kernels::cuda {
namespace {

using testing::Emulated;

// run(Emulated<element of the device code>()) for an element type.
template <class Run>
int emulate(ElementType type, Run run) {
  switch (type) {
    case ElementType::bfloat16:
      run(Emulated<device::Bf16>());
      break;
    case ElementType::float16:
      run(Emulated<device::Fp16>());
      break;
    default:
      run(Emulated<float>());
  }
  return 0;
}

}  // namespace

bool is_built() { return true; }

Stream stream_of(const at::Tensor&) { return nullptr; }

void check_launch(int error, const char* kernel) { EXPECT_EQ(error, 0) << kernel; }

void product(at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  at::mm_out(out, a.to(at::kFloat), b.to(at::kFloat));
}

at::Tensor upload_bytes(const void* data, size_t bytes, const at::Tensor&) {
  at::Tensor copy = at::empty({static_cast<int64_t>(bytes)}, at::kByte);
  if (bytes > 0) std::memcpy(copy.mutable_data_ptr(), data, bytes);
  return copy;
}

int launch_row_stats(ElementType type, const device::RowStatsJob& job, int num_tasks, Stream) {
  return emulate(type, [&](auto device) { device.row_stats(job, num_tasks); });
}

int launch_band(ElementType type, const device::BandJob& job, int num_tasks, Stream) {
  return emulate(type, [&](auto device) { device.band(job, num_tasks); });
}

int launch_fai(ElementType type, const device::FaiJob& job, int num_tasks, int num_heads, Stream) {
  return emulate(type, [&](auto device) { device.fai(job, num_tasks, num_heads); });
}

int launch_anchor(ElementType type, const device::AnchorJob& job, int num_tasks, int num_heads, Stream) {
  return emulate(type, [&](auto device) { device.anchor(job, num_tasks, num_heads); });
}

int launch_decode(ElementType type, const device::DecodeJob& job, int num_rows, Stream) {
  return emulate(type, [&](auto device) { device.decode(job, num_rows); });
}

int launch_logprob_reduce(const device::LogprobReduceJob& job, int num_rows, Stream) {
  simt::launch({.grid = {num_rows, 1, 1},
                .threads = device::kLogprobThreads,
                .shared_bytes = device::logprob_reduce_shared_bytes()},
               [&] { device::logprob_reduce_block<float>(job); });
  return 0;
}

int launch_logprob_finish(const device::LogprobFinishJob& job, Stream) {
  simt::launch({.grid = {(job.rows + device::kLogprobThreads - 1) / device::kLogprobThreads, 1, 1},
                .threads = device::kLogprobThreads},
               [&] { device::logprob_finish_block(job); });
  return 0;
}

int launch_logprob_gradient(ElementType out, const device::LogprobGradientJob& job, int num_rows, Stream) {
  const simt::Launch launch{.grid = {device::logprob_gradient_blocks(job.columns), num_rows, 1},
                            .threads = device::kLogprobThreads};
  if (out == ElementType::bfloat16) {
    simt::launch(launch, [&] { device::logprob_gradient_block<float, device::Bf16>(job); });
  } else {
    simt::launch(launch, [&] { device::logprob_gradient_block<float, float>(job); });
  }
  return 0;
}

}  // namespace pan::kernels::cuda

namespace pan::kernels::cpu {

RowStats row_stats(const at::Tensor& q, const at::Tensor& k, const std::vector<int64_t>& cu_seqlens,
                   const RowStatsOptions& options) {
  return cuda::row_stats(q, k, cu_seqlens, options);
}

at::Tensor attention_band(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                          const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                          const at::Tensor& head_weights, int64_t sliding_window) {
  return cuda::attention_band(q, k, lse, cu_seqlens, scale, lo, hi, head_weights, sliding_window);
}

at::Tensor attention_fai(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse,
                         const std::vector<int64_t>& cu_seqlens, double scale, int64_t lo, int64_t hi,
                         const std::vector<int64_t>& first_row, int64_t sliding_window) {
  return cuda::attention_fai(q, k, lse, cu_seqlens, scale, lo, hi, first_row, sliding_window);
}

at::Tensor anchor_mass(const at::Tensor& q, const at::Tensor& k, const at::Tensor& lse_ns,
                       const std::vector<int64_t>& cu_seqlens, double scale,
                       const std::vector<int64_t>& step_of, const std::vector<std::vector<int64_t>>& anchors,
                       const std::vector<int64_t>& heads, int64_t sliding_window) {
  return cuda::anchor_mass(q, k, lse_ns, cu_seqlens, scale, step_of, anchors, heads, sliding_window);
}

LogprobEntropy logprob_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                               const LogprobOptions& options) {
  return cuda::logprob_entropy(hidden, weight, targets, options);
}

void decode_attention(const at::Tensor& q, const at::Tensor& k_cache, const at::Tensor& v_cache,
                      const std::vector<int64_t>& slots, const std::vector<int64_t>& lengths, double scale,
                      at::Tensor& out, int64_t sliding_window) {
  cuda::decode_attention(q, k_cache, v_cache, slots, lengths, scale, out, sliding_window);
}

}  // namespace pan::kernels::cpu

namespace pan::kernels::testing {

std::vector<const char*> kernel_devices() { return {"cpu"}; }

namespace {

// Tensors that no one has written hold NaN: every value must come from a kernel.
class UnwrittenIsNan : public ::testing::Environment {
  void SetUp() override {
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(true);
  }
};
const auto* const unwritten_is_nan = ::testing::AddGlobalTestEnvironment(new UnwrittenIsNan);

}  // namespace
}  // namespace pan::kernels::testing
