#include "train/process.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>

#include <cstdlib>

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/threads.h"
#include "kernels/isa.h"

namespace pan::train {

namespace {
// More than one lets a run go on, bit for bit, where there are fewer processors than it began with.
constexpr int64_t kMostThreadsPerCpu = 4;
}  // namespace

at::ScalarType compute_type(const ModelConfig& model) {
  return model.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

void release_free_memory() { malloc_trim(0); }

Memory memory_of(at::Device device) {
  if (device.is_cpu())
    return {.of = "this machine", .bytes = static_cast<int64_t>(core::total_memory_bytes())};
  const auto [free, total] = at::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
  return {.of = device.str(), .bytes = static_cast<int64_t>(total)};
}

at::Device prepare_process(const ModelConfig& model, int64_t threads) {
  const int64_t most = kMostThreadsPerCpu * core::usable_cpus();
  PAN_CHECK(threads <= most, kConfig, "there are far fewer processors than threads")
      .pointer("/threads")
      .expected("0 to " + std::to_string(most) + ", four for each processor of " + core::describe_cpus())
      .got(std::to_string(threads))
      .remedy("Set threads to 0, which takes all that the process may use");
  // Read by the libraries when they start their first parallel region, so they are set before any tensor
  // work.
  setenv("MKL_DYNAMIC", "FALSE", 0);
  setenv("OMP_DYNAMIC", "FALSE", 0);
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  // Activations are freed and taken again at every step; giving them back to the system each time costs page
  // faults.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
  at::set_num_threads(threads > 0 ? static_cast<int>(threads) : core::usable_cpus());
  at::globalContext().setDeterministicAlgorithms(true, false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  // Containers set a variable that has float32 products computed in TF32.
  at::globalContext().setFloat32MatmulPrecision("highest");

  const bool has_cuda = at::hasCUDA();
  PAN_CHECK(model.device != "cuda" || has_cuda, kDevice, "there is no GPU that this build can use")
      .pointer("/model/device")
      .expected("cpu or auto")
      .got("cuda")
      .remedy(
          "Build with PAN_CUDA=ON on a machine with an NVIDIA driver (scripts/setup.sh says what it found)");
  if (has_cuda && model.device != "cpu") return at::Device(at::kCUDA, 0);
  if (compute_type(model) == at::kBFloat16 && !kernels::has_native_bf16())
    core::log_warn("model.dtype",
                   "this processor has no bfloat16 arithmetic and emulates it: float32 is faster here");
  return at::kCPU;
}

}  // namespace pan::train
