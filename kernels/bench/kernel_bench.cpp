// What the fused kernels cost, beside what they replace or ride on; same tensors, same run.
//
//   kernel_bench [--device cpu|cuda] [--threads N] [--only attention|logprob|decode] [--quick] [--json FILE]
//
// On the CPU with one thread times are processor time of that thread, so that neighbours on the machine count
// less; else wall time. On a GPU calls are queued in bunches between two waits.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/bench/bench.h"
#include "kernels/bench/peak.h"
#include "kernels/isa.h"

namespace {

using namespace pan::kernels::bench;

Peaks reachable_gflops(const Settings& settings) {
  if (settings.device.is_cpu())
    return {settings.threads * peak_gflops(), settings.threads * peak_bfloat16_gflops()};
  const auto product = [&](at::ScalarType type) {
    constexpr int64_t kSize = 8192;
    const at::Tensor a = at::ones({kSize, kSize}, at::TensorOptions(settings.device).dtype(type));
    const double ms =
        pan::bench::median_ms([&] { at::mm(a, a); }, {.device = settings.device, .budget_s = 0.5});
    return 2e-6 * static_cast<double>(kSize * kSize * kSize) / ms;
  };
  return {product(at::kFloat), product(at::kBFloat16)};
}

const char* sdpa_name(const Settings& settings) {
  return settings.device.is_cpu() ? "flash" : "flash (float32: memory-efficient)";
}

void print_header(const Settings& settings, const Peaks& peaks) {
  std::printf("%s, %u cores, %d thread(s), CPU code %s; SDPA forward by its %s implementation\n",
              pan::bench::device_name(settings.device).c_str(), std::thread::hardware_concurrency(),
              settings.threads, pan::kernels::active_isa_set().name().c_str(), sdpa_name(settings));
  std::printf("Roofline, %s: float32 %.0f GFLOP/s, bfloat16 %.0f GFLOP/s.\n",
              settings.device.is_cuda() ? "products of 8192 x 8192 matrices"
                                        : "multiply-adds in registers with these instructions",
              peaks.float32, peaks.bfloat16);
}

bool write_json(const Settings& settings, const Peaks& peaks, const std::vector<Table>& tables) {
  std::ofstream out(settings.json);
  out << "{\"device\": \"" << settings.device.str() << "\", \"processor\": \""
      << pan::bench::device_name(settings.device) << "\", \"cores\": " << std::thread::hardware_concurrency()
      << ", \"threads\": " << settings.threads << ", \"isa\": \"" << pan::kernels::active_isa_set().name()
      << "\", \"sdpa\": \"" << sdpa_name(settings) << "\",\n \"peak_gflops\": {\"float32\": " << peaks.float32
      << ", \"bfloat16\": " << peaks.bfloat16 << "}";
  for (const Table& table : tables) out << ",\n " << table.json();
  out << "}\n";
  return static_cast<bool>(out.flush());
}

bool parse(int argc, char** argv, Settings& settings) {
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") {
      settings.quick = true;
      continue;
    }
    if (i + 1 >= argc) return false;
    const std::string value = argv[++i];
    if (arg == "--threads") {
      settings.threads = std::max(1, std::atoi(value.c_str()));
    } else if (arg == "--device" && (value == "cpu" || value == "cuda")) {
      settings.device = at::Device(value == "cuda" ? "cuda:0" : "cpu");
    } else if (arg == "--only" && (value == "attention" || value == "logprob" || value == "decode")) {
      settings.only = value;
    } else if (arg == "--json") {
      settings.json = value;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) {
    std::printf(
        "kernel_bench [--device cpu|cuda] [--threads N] [--only attention|logprob|decode] [--quick] [--json "
        "FILE]\n");
    return 2;
  }
  at::set_num_threads(settings.threads);
  if (settings.device.is_cuda() && !at::hasCUDA()) {
    std::fprintf(stderr, "kernel_bench: there is no GPU that this build can use\n");
    return 1;
  }
  const Peaks peaks = reachable_gflops(settings);
  print_header(settings, peaks);
  const auto wants = [&](const char* section) { return settings.only.empty() || settings.only == section; };
  std::vector<Table> tables;
  if (wants("attention")) tables.push_back(attention_section(settings, peaks));
  if (wants("logprob")) tables.push_back(logprob_section(settings, peaks));
  if (wants("decode")) tables.push_back(decode_section(settings));
  if (!settings.json.empty() && !write_json(settings, peaks, tables)) {
    std::fprintf(stderr, "cannot write %s\n", settings.json.c_str());
    return 1;
  }
  return 0;
}
