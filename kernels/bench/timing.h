// What the benchmarks share: medians on any device, peak memory of a device, the machine's name.
#pragma once

#include <ATen/DeviceAccelerator.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace pan::bench {

inline void synchronize(at::Device device) {
  if (device.is_cuda()) at::accelerator::synchronizeDevice(device.has_index() ? device.index() : 0);
}

inline double clock_s(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct TimingOptions {
  at::Device device = at::kCPU;
  bool own_thread = false;  // processor time of this thread instead of wall time
  double budget_s = 1.0;
  int64_t at_least = 3;
  bool warm_up = true;  // one call before those that count
};

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Mean milliseconds of `count` calls in a row.
inline double once_ms(const std::function<void()>& call, const TimingOptions& o, int64_t count = 1) {
  const clockid_t clock = o.own_thread && o.device.is_cpu() ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  synchronize(o.device);
  const double begin = clock_s(clock);
  for (int64_t i = 0; i < count; ++i) call();
  synchronize(o.device);
  return (clock_s(clock) - begin) / static_cast<double>(count) * 1e3;
}

// Median milliseconds of a call. On a GPU short calls are queued in bunches, so that
// what is measured is the device's time and not the wait.
inline double median_ms(const std::function<void()>& call, const TimingOptions& o) {
  if (o.warm_up) once_ms(call, o);
  const int64_t bunch =
      o.device.is_cuda() ? std::clamp<int64_t>(static_cast<int64_t>(10 / once_ms(call, o)), 1, 50) : 1;
  std::vector<double> times;
  double total = 0;
  while (static_cast<int64_t>(times.size()) < o.at_least || (total < 1e3 * o.budget_s && times.size() < 25)) {
    times.push_back(once_ms(call, o, bunch));
    total += times.back() * static_cast<double>(bunch);
  }
  return median(std::move(times));
}

// Megabytes that a call takes on a GPU beyond what is allocated before it.
inline double device_peak_mb(const std::function<void()>& call, at::Device device) {
  const c10::DeviceIndex index = device.has_index() ? device.index() : c10::DeviceIndex{0};
  synchronize(device);
  at::accelerator::resetPeakStats(index);
  const auto before = at::accelerator::getDeviceStats(index).allocated_bytes[0].current;
  call();
  synchronize(device);
  const auto peak = at::accelerator::getDeviceStats(index).allocated_bytes[0].peak;
  return static_cast<double>(peak - before) / 1048576;
}

inline std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

// The driver's name of the first GPU.
inline std::string gpu_name() {
  FILE* pipe = popen("nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1", "r");
  std::string name;
  for (int c; pipe != nullptr && (c = fgetc(pipe)) != EOF && c != '\n';) name += static_cast<char>(c);
  if (pipe != nullptr) pclose(pipe);
  return name.empty() ? "unknown GPU" : name;
}

inline std::string device_name(at::Device device) { return device.is_cuda() ? gpu_name() : processor_name(); }

}  // namespace pan::bench
