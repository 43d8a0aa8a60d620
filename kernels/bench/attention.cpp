// The attention statistics beside the two things they replace or ride on.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention_stats.h"
#include "kernels/bench/bench.h"

namespace pan::kernels::bench {
namespace {

using pan::bench::median_ms;

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

std::vector<Cell> measure(const ModelHeads& model, int64_t length, at::ScalarType type,
                          const Settings& settings, const Peaks& peaks) {
  const at::Device device = settings.device;
  at::manual_seed(1);
  const auto random = [&](int64_t heads) {
    return at::randn({length, heads, model.head_size}).to(device, type);
  };
  const at::Tensor q = random(model.num_heads), k = random(model.num_key_heads);
  const at::Tensor heads_q = q.transpose(0, 1).contiguous(), heads_k = k.transpose(0, 1).contiguous();
  const at::Tensor heads_v = random(model.num_key_heads).transpose(0, 1).contiguous();
  const std::vector<int64_t> cu{0, length};
  const double scale = 1 / std::sqrt(static_cast<double>(model.head_size));
  const RowStats stats = row_stats(q, k, cu, {});
  const at::Tensor weights = at::ones({model.num_heads}, stats.lse.options());
  const Anchors anchors(length);
  std::vector<int64_t> heads;
  for (int64_t h = 0; h < model.num_heads; ++h) heads.push_back(h);

  const auto ours = [&] { row_stats(q, k, cu, {}); };
  const auto eager = [&] { eager_stats(heads_q, heads_k, scale); };
  const double ours_ms = median_ms(ours, settings.timing());
  const double sdpa =
      sdpa_ms(heads_q.unsqueeze(0), heads_k.unsqueeze(0), heads_v.unsqueeze(0), true, settings);
  const double band_ms =
      median_ms([&] { attention_band(q, k, stats.lse, cu, 0, 10, 100, weights); }, settings.timing());
  const double anchor_ms =
      median_ms([&] { anchor_mass(q, k, stats.lse_ns, cu, 0, anchors.step_of, anchors.keys, heads); },
                settings.timing());
  const double ours_mb = peak_mb(ours, device);
  // Up to four and a half float32 maps are alive at once.
  const double room = device.is_cuda() ? 48e9 : 12e9;
  double eager_ms = kNotRun, eager_mb = kNotRun;
  const double positions = static_cast<double>(model.num_heads * length);
  if (positions * static_cast<double>(length) * 4 * 4.5 < room) {
    eager_mb = peak_mb(eager, device);
    eager_ms = median_ms(eager, settings.slow_timing());
  }
  const double pairs = static_cast<double>(length) * static_cast<double>(length + 1) / 2;
  const double gflops = 2e-6 * pairs * static_cast<double>(model.num_heads * model.head_size) / ours_ms;
  return {text("heads of", model.name),
          text("type", type_name(type)),
          number("T", static_cast<double>(length), 0),
          number("row_stats ms", ours_ms, 3),
          number("SDPA ms", sdpa, 3),
          number("eager ms", eager_ms, 1),
          number("band ms", band_ms, 3),
          number("anchor ms", anchor_ms, 3),
          number("row_stats/SDPA", ours_ms / sdpa, 2),
          number("eager/row_stats", eager_ms / ours_ms, 1),
          number("GFLOP/s", gflops, 0),
          number("roofline %", 100 * gflops / peaks.of(type), 0),
          number("row_stats MB", ours_mb, 2),
          number("bytes/(head, position)", ours_mb * 1048576 / positions, 1),
          number("eager MB", eager_mb, 0)};
}

}  // namespace

Table attention_section(const Settings& settings, const Peaks& peaks) {
  Table table(
      "attention",
      "Attention statistics of one sequence of T tokens, all heads.\n"
      "FLOPs counted: 2 D per visible (query, key) pair and head, T (T+1) / 2 pairs; exponentials are not.\n"
      "Bytes: q and k once, 8 float32 outputs: below 1 per 100 FLOPs from T = 512 on, so the roofline is "
      "the multiply-add rate of the type.\n"
      "The outputs alone are 32 bytes per (head, position). \"-\": not run, the map does not fit.");
  const bool gpu = settings.device.is_cuda();
  std::vector<int64_t> lengths{512, 1024, 2048, 4096, 8192};
  if (gpu) lengths.push_back(16384);
  if (settings.quick) lengths = gpu ? std::vector<int64_t>{1024, 8192} : std::vector<int64_t>{512, 1024};
  for (at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (const ModelHeads& model : {kSmolLM2, kQwen2, kQwen3})
      for (int64_t length : lengths) table.add(measure(model, length, type, settings, peaks));
  return table;
}

}  // namespace pan::kernels::bench
