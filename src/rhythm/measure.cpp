#include "rhythm/measure.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"

namespace pan::rhythm {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// H_glob's share of one layer. lse_ns holds the rows of `heads`; the others are not read.
struct GlobalHeads {
  const kernels::LayerQk& qk;
  std::vector<int64_t> heads;
  at::Tensor lse_ns;  // [H, N]
};

// Rows of chosen heads [G, N] at their places among all [H, N].
at::Tensor spread(const at::Tensor& rows, const std::vector<int64_t>& heads, int64_t num_heads) {
  const auto index = at::tensor(heads, at::TensorOptions().dtype(at::kLong)).to(rows.device());
  return at::zeros({num_heads, rows.size(1)}, rows.options()).index_copy_(0, index, rows);
}

std::vector<int64_t> heads_of(const std::vector<Head>& group, int64_t layer) {
  std::vector<int64_t> heads;
  for (const Head& h : group)
    if (h.layer == layer) heads.push_back(h.head);
  return heads;
}

// Adds every row of `rows` [G, N] to `sum` [N] float64, one after the other, so that a token's sum depends on
// nothing else. Made at the first call; stays on the device, where nobody waits for it.
void add_rows(const at::Tensor& rows, at::Tensor& sum) {
  if (!sum.defined()) sum = at::zeros({rows.size(1)}, rows.options().dtype(at::kDouble));
  for (int64_t g = 0; g < rows.size(0); ++g) sum.add_(rows.select(0, g));
}

// sum / count on the host; zeros where nothing was added.
std::vector<double> group_mean(const at::Tensor& sum, size_t num_tokens, size_t count) {
  if (!sum.defined()) return std::vector<double>(num_tokens, 0.0);
  const at::Tensor mean = sum.div(static_cast<double>(count)).cpu();
  const double* x = mean.const_data_ptr<double>();
  return {x, x + num_tokens};
}

// Averages over a phase; NaN when it is empty or a value is not finite.
double mean_over(const std::vector<double>& x, int64_t offset, int64_t begin, int64_t end) {
  if (begin > end) return kMissing;
  double sum = 0;
  for (int64_t t = begin; t <= end; ++t) sum += x[static_cast<size_t>(offset + t)];
  return std::isfinite(sum) ? sum / static_cast<double>(end - begin + 1) : kMissing;
}

std::array<double, 2> phase_means(const std::vector<double>& x, int64_t offset, const Step& step) {
  return {mean_over(x, offset, step.begin, step.preplan_end),
          mean_over(x, offset, step.preplan_end + 1, step.end)};
}

// The band of one sequence: mean attention of H_glob from row t to key t - delta, as far as the band goes.
class Band {
 public:
  Band(const float* rows, const RhythmConfig& config)
      : rows_(rows), lo_(config.h_lo), hi_(config.h_hi), min_rows_(config.fai_min_rows) {}

  // Mean attention on key s over the rows [first, last] of its band; NaN with too few of them.
  double mean(int64_t s, int64_t first, int64_t last) const {
    const int64_t begin = std::max(first, s + lo_), end = std::min(last, s + hi_);
    const int64_t count = end - begin + 1;
    if (count < min_rows_) return kMissing;
    double sum = 0;
    for (int64_t t = begin; t <= end; ++t) sum += rows_[t * (hi_ - lo_ + 1) + (t - s - lo_)];
    return sum / static_cast<double>(count);
  }

  // The same for every key s < num_tokens over the rows [first, num_tokens), reading each row once.
  std::vector<double> means(int64_t first, int64_t num_tokens) const {
    const int64_t width = hi_ - lo_ + 1;
    std::vector<double> out(static_cast<size_t>(num_tokens), 0.0);
    for (int64_t t = first; t < num_tokens; ++t)
      for (int64_t j = 0; j < std::min(width, t - lo_ + 1); ++j)
        out[static_cast<size_t>(t - lo_ - j)] += rows_[t * width + j];
    for (int64_t s = 0; s < num_tokens; ++s) {
      const int64_t count = std::min(num_tokens - 1, s + hi_) - std::max(first, s + lo_) + 1;
      double& mean = out[static_cast<size_t>(s)];
      mean = count < min_rows_ ? kMissing : mean / static_cast<double>(count);
    }
    return out;
  }

  int64_t hi() const { return hi_; }

 private:
  const float* rows_;  // [N, hi - lo + 1]
  int64_t lo_, hi_, min_rows_;
};

// Everything measure() keeps between its two passes over the layers.
struct Batch {
  const std::vector<int64_t>& cu_seqlens;
  const std::vector<SequenceText>& texts;
  const RhythmConfig& config;
  std::vector<int64_t> prompt_lengths;
  std::vector<GlobalHeads> global;
  at::Tensor waad_sum = {}, norm_entropy_sum = {};   // [N] float64, on the device
  at::Tensor band = {};                              // [N, hi - lo + 1] float32; on the host after the layers
  std::vector<double> waad = {}, norm_entropy = {};  // [N] group means

  size_t num_tokens() const { return static_cast<size_t>(cu_seqlens.back()); }
  kernels::RowStatsOptions options(const kernels::LayerQk& qk) const {
    return {.scale = qk.scale,
            .num_sink = config.num_sink,
            .waad_window = config.waad_window,
            .sliding_window = qk.sliding_window,
            .select = {.lse = false,
                       .entropy = false,
                       .norm_entropy = false,
                       .distance = false,
                       .distance_ns = false,
                       .waad = false,
                       .sink_mass = false},
            .first_row = {}};
  }
};

void add_local(Batch& batch, const kernels::LayerQk& qk, const std::vector<int64_t>& heads) {
  auto options = batch.options(qk);
  options.select.waad = true;
  options.first_row = batch.prompt_lengths;
  options.heads = heads;
  add_rows(kernels::row_stats(qk.q, qk.k, batch.cu_seqlens, options).waad, batch.waad_sum);
}

// Row statistics of all rows (prompt rows read keys too), and this layer's part of the band.
void add_global(Batch& batch, const kernels::LayerQk& qk, const std::vector<int64_t>& heads, double weight) {
  auto options = batch.options(qk);
  options.select.lse = options.select.norm_entropy = true;
  options.heads = heads;
  const auto stats = kernels::row_stats(qk.q, qk.k, batch.cu_seqlens, options);
  add_rows(stats.norm_entropy, batch.norm_entropy_sum);
  std::vector<float> weights(static_cast<size_t>(qk.q.size(1)), 0.0f);
  for (const int64_t h : heads) weights[static_cast<size_t>(h)] = static_cast<float>(weight);
  const auto band = kernels::attention_band(
      qk.q, qk.k, spread(stats.lse, heads, qk.q.size(1)), batch.cu_seqlens, qk.scale, batch.config.h_lo,
      batch.config.h_hi, at::tensor(weights, at::kFloat).to(qk.q.device()), qk.sliding_window);
  batch.band = batch.band.defined() ? batch.band.add_(band) : band;
  batch.global.push_back({qk, heads, spread(stats.lse_ns, heads, qk.q.size(1))});
}

// Non-sink keys that row t sees.
int64_t visible_keys(int64_t t, int64_t num_sink, int64_t sliding_window) {
  const int64_t first = sliding_window > 0 ? std::max<int64_t>(0, t - sliding_window + 1) : 0;
  return std::max<int64_t>(0, t + 1 - std::max(first, num_sink));
}

// A_k: the most read keys before the step, by rows before the step.
std::vector<int64_t> anchors_of(const Band& band, const std::vector<double>& full, const SequenceText& text,
                                int64_t begin, const RhythmConfig& config) {
  std::vector<std::pair<double, int64_t>> eligible;  // (-FAI_k, position): sorts by FAI, ties to the earlier
  for (int64_t s = config.num_sink; s < begin; ++s) {
    const auto i = static_cast<size_t>(s);
    if (text.special[i] || !is_content(text.token_bytes[i])) continue;
    const double fai = s + band.hi() <= begin - 1 ? full[i] : band.mean(s, 0, begin - 1);
    if (!std::isnan(fai)) eligible.emplace_back(-fai, s);
  }
  const int64_t wanted = std::max(config.anchors.min_keys, ceil_fraction(config.anchors.fraction, begin));
  const size_t count = std::min(static_cast<size_t>(wanted), eligible.size());
  const auto middle = eligible.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(eligible.begin(), middle, eligible.end());
  std::vector<int64_t> anchors;
  for (auto it = eligible.begin(); it != middle; ++it) anchors.push_back(it->second);
  std::sort(anchors.begin(), anchors.end());
  return anchors;
}

// All of a sequence but its anchor concentrations.
SequenceRhythm measure_one(const Batch& batch, size_t b) {
  const SequenceText& text = batch.texts[b];
  const RhythmConfig& config = batch.config;
  const int64_t offset = batch.cu_seqlens[b], num_tokens = text.num_tokens();
  SequenceRhythm r;
  r.num_tokens = num_tokens;
  r.prompt_length = text.prompt_length;
  const auto n = static_cast<size_t>(num_tokens);
  r.waad.assign(n, kMissing);
  r.norm_entropy.assign(n, kMissing);
  for (int64_t t = text.prompt_length; t < num_tokens; ++t) {
    const auto i = static_cast<size_t>(t), row = static_cast<size_t>(offset + t);
    r.waad[i] = batch.waad[row];
    r.norm_entropy[i] = batch.norm_entropy[row];
  }
  const int64_t width = config.h_hi - config.h_lo + 1;
  const Band band(batch.band.const_data_ptr<float>() + offset * width, config);
  r.fai = band.means(text.prompt_length, num_tokens);
  const std::vector<double> full = band.means(0, num_tokens);
  const std::vector<Step> steps = cut_steps(text, config, r.waad);
  const std::vector<char> repeated = repeated_steps(text, steps);
  for (size_t k = 0; k < steps.size(); ++k) {
    r.steps.push_back({.step = steps[k],
                       .preplan_entropy = phase_means(r.norm_entropy, 0, steps[k]),
                       .anchor_concentration = {kMissing, kMissing},
                       .anchors = anchors_of(band, full, text, steps[k].begin, config),
                       .repeated = repeated[k] != 0});
  }
  r.repeated_8grams = repeated_8grams(text);
  return r;
}

// Anchor mass of each layer's heads, turned into the mean concentration of each token: [N].
std::vector<double> concentrations(const Batch& batch, const std::vector<SequenceRhythm>& sequences) {
  std::vector<int64_t> step_of(batch.num_tokens(), -1);
  std::vector<std::vector<int64_t>> anchors;
  for (size_t b = 0; b < sequences.size(); ++b) {
    for (const StepRhythm& s : sequences[b].steps) {
      if (s.anchors.empty()) continue;
      const int64_t offset = batch.cu_seqlens[b];
      for (int64_t t = s.step.begin; t <= s.step.end; ++t)
        step_of[static_cast<size_t>(offset + t)] = static_cast<int64_t>(anchors.size());
      anchors.push_back(s.anchors);
    }
  }
  std::vector<double> result(batch.num_tokens(), 0.0);
  if (anchors.empty()) return result;
  double num_heads = 0;
  std::vector<at::Tensor> masses;  // [N] sums over each layer's heads: one wait for all
  for (const GlobalHeads& g : batch.global) {
    masses.emplace_back();
    add_rows(kernels::anchor_mass(g.qk.q, g.qk.k, g.lse_ns, batch.cu_seqlens, g.qk.scale, step_of, anchors,
                                  g.heads, g.qk.sliding_window),
             masses.back());
  }
  const at::Tensor by_layer = at::stack(masses).cpu();
  for (size_t l = 0; l < batch.global.size(); ++l) {
    const GlobalHeads& g = batch.global[l];
    const double* mass = by_layer.const_data_ptr<double>() + l * result.size();
    const auto count = static_cast<double>(g.heads.size());
    num_heads += count;
    for (size_t b = 0; b < sequences.size(); ++b) {
      for (const StepRhythm& s : sequences[b].steps) {
        for (int64_t t = s.step.begin; t <= s.step.end && !s.anchors.empty(); ++t) {
          const auto row = static_cast<size_t>(batch.cu_seqlens[b] + t);
          const auto keys = static_cast<double>(visible_keys(t, batch.config.num_sink, g.qk.sliding_window));
          const double u = keys > 0 ? static_cast<double>(s.anchors.size()) / keys : 1;
          // A sliding window can be narrower than the anchor set: no attention is concentrated then.
          if (u < 1) result[row] += (mass[row] - u * count) / (1 - u);
        }
      }
    }
  }
  for (double& x : result) x /= num_heads;
  return result;
}

void check_batch(const std::vector<kernels::LayerQk>& layers, const Batch& batch, const HeadGroups& groups) {
  PAN_CHECK(!groups.empty(), kInternal, "head groups have to be found before measuring")
      .where("rhythm::measure");
  PAN_CHECK(batch.cu_seqlens.size() == batch.texts.size() + 1, kInternal, "one text a sequence is needed")
      .where("rhythm::measure");
  for (size_t b = 0; b < batch.texts.size(); ++b) {
    const int64_t length = batch.cu_seqlens[b + 1] - batch.cu_seqlens[b];
    PAN_CHECK(batch.texts[b].num_tokens() == length, kInternal, "a text has another length than its sequence")
        .where("rhythm::measure")
        .expected(std::to_string(length))
        .got(std::to_string(batch.texts[b].num_tokens()));
  }
  for (const auto* group : {&groups.local, &groups.global}) {
    for (const Head& h : *group) {
      const auto it =
          std::find_if(layers.begin(), layers.end(), [&](const auto& qk) { return qk.layer == h.layer; });
      PAN_CHECK(it != layers.end() && h.head < it->q.size(1), kConfig,
                "the head groups are those of other layers or of another model")
          .where("rhythm")
          .got("layer " + std::to_string(h.layer) + ", head " + std::to_string(h.head))
          .remedy("Calibrate again");
    }
  }
}

}  // namespace

double entropy_term(const StepRhythm& step, Form form) {
  if (!step.step.has_anchor_phase()) return kMissing;
  const auto& e = step.preplan_entropy;
  return form == Form::kLevel ? e[kPreplan] : e[kPreplan] - e[kAnchor];
}

double concentration_term(const StepRhythm& step, Form form) {
  if (!step.step.has_anchor_phase()) return kMissing;
  const auto& c = step.anchor_concentration;
  return form == Form::kLevel ? c[kAnchor] : c[kAnchor] - c[kPreplan];
}

std::vector<SequenceRhythm> measure(const std::vector<kernels::LayerQk>& layers,
                                    const std::vector<int64_t>& cu_seqlens,
                                    const std::vector<SequenceText>& texts, const HeadGroups& groups,
                                    const RhythmConfig& config) {
  Batch batch{.cu_seqlens = cu_seqlens, .texts = texts, .config = config, .prompt_lengths = {}, .global = {}};
  check_batch(layers, batch, groups);
  for (const SequenceText& text : texts) batch.prompt_lengths.push_back(text.prompt_length);
  for (const auto& qk : layers) {
    const auto local = heads_of(groups.local, qk.layer), global = heads_of(groups.global, qk.layer);
    if (!local.empty()) add_local(batch, qk, local);
    if (!global.empty()) add_global(batch, qk, global, 1.0 / static_cast<double>(groups.global.size()));
  }
  batch.waad = group_mean(batch.waad_sum, batch.num_tokens(), groups.local.size());
  batch.norm_entropy = group_mean(batch.norm_entropy_sum, batch.num_tokens(), groups.global.size());
  batch.band = batch.band.cpu();
  for (size_t b = 0; b < texts.size(); ++b) {
    for (int64_t t = texts[b].prompt_length; t < texts[b].num_tokens(); ++t)
      if (visible_keys(t, config.num_sink, 0) < 2)
        batch.norm_entropy[static_cast<size_t>(cu_seqlens[b] + t)] = config.single_key_entropy;
  }
  std::vector<SequenceRhythm> sequences(texts.size());
  at::parallel_for(0, static_cast<int64_t>(texts.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto b = static_cast<size_t>(begin); b < static_cast<size_t>(end); ++b)
      sequences[b] = measure_one(batch, b);
  });
  const std::vector<double> concentration = concentrations(batch, sequences);
  for (size_t b = 0; b < texts.size(); ++b) {
    for (StepRhythm& s : sequences[b].steps)
      if (!s.anchors.empty()) s.anchor_concentration = phase_means(concentration, cu_seqlens[b], s.step);
  }
  return sequences;
}

HeadStatistics head_statistics(const std::vector<kernels::LayerQk>& layers,
                               const std::vector<int64_t>& cu_seqlens,
                               const std::vector<int64_t>& prompt_lengths, const RhythmConfig& config) {
  std::vector<std::vector<at::Tensor>> parts(7);
  for (const auto& qk : layers) {
    const kernels::RowStatsOptions options{.scale = qk.scale,
                                           .num_sink = config.num_sink,
                                           .waad_window = config.waad_window,
                                           .sliding_window = qk.sliding_window,
                                           .select = {},
                                           .first_row = {}};
    const auto s = kernels::row_stats(qk.q, qk.k, cu_seqlens, options);
    const auto fai = kernels::attention_fai(qk.q, qk.k, s.lse, cu_seqlens, qk.scale, config.h_lo, config.h_hi,
                                            prompt_lengths, qk.sliding_window);
    size_t i = 0;
    for (const at::Tensor& x :
         {s.entropy, s.norm_entropy, s.distance, s.distance_ns, s.waad, fai, s.sink_mass})
      parts[i++].push_back(x.cpu());
  }
  return {.entropy = at::stack(parts[0]),
          .norm_entropy = at::stack(parts[1]),
          .distance = at::stack(parts[2]),
          .distance_ns = at::stack(parts[3]),
          .waad = at::stack(parts[4]),
          .fai = at::stack(parts[5]),
          .sink_mass = at::stack(parts[6])};
}

}  // namespace pan::rhythm
