// What the fused attention statistics cost, beside the two things they replace or ride on: the same
// statistics from a materialised map in plain ATen, and an attention forward alone; same tensors, same run.
//
//   kernel_bench [--device cpu|cuda] [--threads N] [--quick] [--json FILE]
//
// On the CPU with one thread times are processor time of that thread, so that neighbours on the machine count
// less; else wall time. On a GPU calls are queued in bunches between two waits.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/bench/peak.h"
#include "kernels/bench/timing.h"
#include "kernels/isa.h"

namespace {

using pan::bench::median_ms;
using pan::kernels::RowStats;
using pan::kernels::RowStatsOptions;

struct Model {
  const char* name;
  int64_t num_heads, num_key_heads, head_size;
};
constexpr Model kModels[] = {
    {"SmolLM2-135M", 9, 3, 64}, {"Qwen2.5-0.5B", 14, 2, 64}, {"Qwen3-4B", 32, 8, 128}};

struct Settings {
  at::Device device = at::kCPU;
  int threads = 1;
  bool quick = false;
  std::string json;
};

struct Row {
  std::string model, type;
  int64_t length;
  double ours_ms, eager_ms, sdpa_ms, band_ms, anchor_ms;  // eager 0: not run
  double ours_mb, eager_mb;                               // peak extra memory
  double gflops;
};

double status_mb(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field, 0) == 0) return std::stod(line.substr(std::strlen(field) + 1)) / 1024;
  }
  return 0;
}

// What a call takes at its highest point: of the GPU's memory, or of the resident set (needs Linux).
double peak_mb(const std::function<void()>& call, at::Device device) {
  if (device.is_cuda()) return pan::bench::device_peak_mb(call, device);
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the high-water mark
  const double before = status_mb("VmRSS:");
  call();
  return std::max(0.0, status_mb("VmHWM:") - before);
}

// The statistics of one sequence as one would write them with the map at hand: q [H, T, D], k [Hkv, T, D].
RowStats eager_stats(const at::Tensor& q, const at::Tensor& k, double scale) {
  const int64_t length = q.size(1);
  const at::Tensor position = at::arange(length, q.options().dtype(at::kFloat));
  const at::Tensor distance = (position.unsqueeze(1) - position).clamp_min(0);
  const at::Tensor keys = k.repeat_interleave(q.size(0) / k.size(0), 0);
  at::Tensor s = at::matmul(q, keys.transpose(1, 2)).to(at::kFloat).mul_(scale);
  s.masked_fill_(at::ones({length, length}, q.options().dtype(at::kBool)).triu(1), -INFINITY);
  RowStats out;
  out.lse = s.logsumexp(-1);
  const at::Tensor a = (s - out.lse.unsqueeze(-1)).exp_();
  out.entropy = -at::xlogy(a, a).sum(-1);
  out.distance = (a * distance).sum(-1);
  out.waad = (a * distance.clamp_max(10)).sum(-1);
  out.sink_mass = a.select(2, 0);
  const at::Tensor rest = s.slice(2, 1);
  out.lse_ns = rest.logsumexp(-1);
  const at::Tensor b = (rest - out.lse_ns.unsqueeze(-1)).exp_();
  out.norm_entropy = -at::xlogy(b, b).sum(-1) / position.clamp_min(2).log();
  out.distance_ns = (b * distance.slice(1, 1)).sum(-1);
  return out;
}

// Steps of 30 tokens in the last three quarters, each with a twentieth of the keys before it as anchors.
struct Anchors {
  std::vector<int64_t> step_of;
  std::vector<std::vector<int64_t>> keys;

  explicit Anchors(int64_t length) : step_of(static_cast<size_t>(length), -1) {
    for (int64_t begin = length / 4; begin < length; begin += 30) {
      for (int64_t t = begin; t < std::min(begin + 30, length); ++t)
        step_of[static_cast<size_t>(t)] = static_cast<int64_t>(keys.size());
      keys.emplace_back();
      for (int64_t s = 1; s < begin; s += 20) keys.back().push_back(s);
    }
  }
};

Row measure(const Model& model, int64_t length, at::ScalarType type, const Settings& settings) {
  const at::Device device = settings.device;
  const pan::bench::TimingOptions timing{
      .device = device, .own_thread = settings.threads == 1, .budget_s = 1.0, .at_least = 3};
  at::manual_seed(1);
  const auto random = [&](int64_t heads) {
    return at::randn({length, heads, model.head_size}).to(device, type);
  };
  const at::Tensor q = random(model.num_heads), k = random(model.num_key_heads);
  const at::Tensor heads_q = q.transpose(0, 1).contiguous(), heads_k = k.transpose(0, 1).contiguous();
  // On a GPU the fast attention kernels want a key head per query head; made outside of the timing.
  const at::Tensor sdpa_k =
      device.is_cuda() ? heads_k.repeat_interleave(model.num_heads / model.num_key_heads, 0) : heads_k;
  const at::Tensor batch_q = heads_q.unsqueeze(0), batch_k = sdpa_k.unsqueeze(0);
  const std::vector<int64_t> cu{0, length};
  const double scale = 1 / std::sqrt(static_cast<double>(model.head_size));
  const RowStats stats = pan::kernels::row_stats(q, k, cu, {});
  const at::Tensor weights = at::ones({model.num_heads}, stats.lse.options());
  const Anchors anchors(length);
  std::vector<int64_t> heads;
  for (int64_t h = 0; h < model.num_heads; ++h) heads.push_back(h);

  const auto ours = [&] { pan::kernels::row_stats(q, k, cu, {}); };
  const auto eager = [&] { eager_stats(heads_q, heads_k, scale); };
  const auto sdpa = [&] {
    at::scaled_dot_product_attention(batch_q, batch_k, batch_k, {}, 0.0, true, std::nullopt,
                                     /*enable_gqa=*/device.is_cpu());
  };
  const auto band = [&] { pan::kernels::attention_band(q, k, stats.lse, cu, 0, 10, 100, weights); };
  const auto anchor = [&] {
    pan::kernels::anchor_mass(q, k, stats.lse_ns, cu, 0, anchors.step_of, anchors.keys, heads);
  };
  Row row{model.name, type == at::kFloat ? "float32" : "bfloat16", length, 0, 0, 0, 0, 0, 0, 0, 0};
  row.ours_ms = median_ms(ours, timing);
  row.sdpa_ms = median_ms(sdpa, timing);
  row.band_ms = median_ms(band, timing);
  row.anchor_ms = median_ms(anchor, timing);
  row.ours_mb = peak_mb(ours, device);
  // The map in float32 and the handful of its like that are alive at once.
  const int64_t room = device.is_cuda() ? (48LL << 30) : (8LL << 30);
  if (model.num_heads * length * length * 4 * 5 < room) {
    row.eager_ms = median_ms(eager, timing);
    row.eager_mb = peak_mb(eager, device);
  }
  const double pairs = static_cast<double>(length) * static_cast<double>(length + 1) / 2;
  row.gflops = 2e-6 * pairs * static_cast<double>(model.num_heads * model.head_size) / row.ours_ms;
  return row;
}

// GFLOP/s that can be reached: fused multiply-adds in registers on the CPU, a large product on a GPU.
double reachable_gflops(const Settings& settings, at::ScalarType type) {
  if (settings.device.is_cpu()) return settings.threads * pan::kernels::bench::peak_gflops();
  constexpr int64_t kSize = 8192;
  const at::Tensor a = at::ones({kSize, kSize}, at::TensorOptions(settings.device).dtype(type));
  const double ms = median_ms([&] { at::mm(a, a); }, {.device = settings.device, .budget_s = 0.5});
  return 2e-6 * static_cast<double>(kSize * kSize * kSize) / ms;
}

void print_header(const Settings& settings, double peak) {
  std::printf("%s, %u cores, %d thread(s), %s\n", pan::bench::device_name(settings.device).c_str(),
              std::thread::hardware_concurrency(), settings.threads,
              pan::kernels::isa_name(pan::kernels::active_isa()));
  std::printf(
      "FLOPs counted: 2 D per visible (query, key) pair and head, T (T+1) / 2 pairs; exponentials not "
      "counted.\n"
      "Bytes: q, k once and 8 [H, T] outputs: below 1 byte per 100 FLOPs from T = 512 on, so the roofline is "
      "the "
      "multiply-add rate: %.0f GFLOP/s %s.\n",
      peak,
      settings.device.is_cuda() ? "of a bfloat16 product of 8192 x 8192 matrices in the same run"
                                : "float32 measured in registers (bfloat16 pairs: up to twice that)");
  std::printf("%-14s %-8s %6s %10s %10s %10s %10s %10s %8s %8s %8s %9s %9s %8s\n", "heads of", "type", "T",
              "ours ms", "sdpa ms", "eager ms", "band ms", "anchor ms", "o/sdpa", "eager/o", "GFLOP/s",
              "ours MB", "eager MB", "roofline");
}

void print_row(const Row& r, double peak) {
  std::printf("%-14s %-8s %6ld %10.3f %10.3f %10.3f %10.3f %10.3f %8.2f %8.1f %8.0f %9.1f %9.1f %7.0f%%\n",
              r.model.c_str(), r.type.c_str(), static_cast<long>(r.length), r.ours_ms, r.sdpa_ms, r.eager_ms,
              r.band_ms, r.anchor_ms, r.ours_ms / r.sdpa_ms, r.eager_ms / r.ours_ms, r.gflops, r.ours_mb,
              r.eager_mb, 100 * r.gflops / peak);
  std::fflush(stdout);
}

void write_json(const Settings& settings, double peak, const std::vector<Row>& rows) {
  std::ofstream out(settings.json);
  out << "{\"device\": \"" << settings.device.str() << "\", \"processor\": \""
      << pan::bench::device_name(settings.device) << "\", \"cores\": " << std::thread::hardware_concurrency()
      << ", \"threads\": " << settings.threads << ", \"isa\": \""
      << pan::kernels::isa_name(pan::kernels::active_isa()) << "\", \"peak_gflops\": " << peak
      << ",\n \"rows\": [\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& r = rows[i];
    out << "  {\"model\": \"" << r.model << "\", \"type\": \"" << r.type << "\", \"T\": " << r.length
        << ", \"row_stats_ms\": " << r.ours_ms << ", \"sdpa_ms\": " << r.sdpa_ms
        << ", \"eager_ms\": " << r.eager_ms << ", \"band_ms\": " << r.band_ms
        << ", \"anchor_ms\": " << r.anchor_ms << ", \"row_stats_peak_mb\": " << r.ours_mb
        << ", \"eager_peak_mb\": " << r.eager_mb << ", \"gflops\": " << r.gflops << "}"
        << (i + 1 < rows.size() ? ",\n" : "\n");
  }
  out << " ]}\n";
  if (!out.flush()) std::fprintf(stderr, "cannot write %s\n", settings.json.c_str());
}

int usage() {
  std::printf("kernel_bench [--device cpu|cuda] [--threads N] [--quick] [--json FILE]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") {
      settings.quick = true;
    } else if (arg == "--threads" && i + 1 < argc) {
      settings.threads = std::max(1, std::atoi(argv[++i]));
    } else if (arg == "--device" && i + 1 < argc) {
      const std::string device = argv[++i];
      if (device != "cpu" && device != "cuda") return usage();
      settings.device = at::Device(device == "cuda" ? "cuda:0" : "cpu");
    } else if (arg == "--json" && i + 1 < argc) {
      settings.json = argv[++i];
    } else {
      return usage();
    }
  }
  at::set_num_threads(settings.threads);
  const bool gpu = settings.device.is_cuda();
  if (gpu && !at::hasCUDA()) {
    std::fprintf(stderr, "kernel_bench: there is no GPU that this build can use\n");
    return 1;
  }
  const double peak = reachable_gflops(settings, gpu ? at::kBFloat16 : at::kFloat);
  print_header(settings, peak);
  std::vector<Row> rows;
  std::vector<int64_t> lengths{512, 1024, 2048, 4096};
  if (settings.quick) lengths = {512, 1024};
  if (gpu)
    lengths = settings.quick ? std::vector<int64_t>{1024, 8192}
                             : std::vector<int64_t>{512, 1024, 2048, 4096, 8192, 16384};
  for (at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const Model& model : kModels) {
      for (int64_t length : lengths) {
        rows.push_back(measure(model, length, type, settings));
        print_row(rows.back(), peak);
      }
    }
  }
  if (!settings.json.empty()) write_json(settings, peak, rows);
  return 0;
}
