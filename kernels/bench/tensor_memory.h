// Bytes of CPU tensors, counted where they are allocated: exact, and the same on every kernel, which resident
// memory is not (Linux counts it per processor and in batches).
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>

namespace pan::bench {

class TensorMemory : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    now_ += bytes;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

// The most bytes of CPU tensors alive at once that `call` allocates, its results included. Tensors made by
// other threads than the calling one are not seen.
inline int64_t peak_tensor_bytes(const std::function<void()>& call) {
  const auto memory = std::make_shared<TensorMemory>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, memory);
  call();
  return memory->peak();
}

}  // namespace pan::bench
