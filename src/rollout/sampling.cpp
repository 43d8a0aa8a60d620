#include "rollout/sampling.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"
#include "rollout/sample_loops.h"

namespace pan::rollout {
namespace {

// Floats as integers of the same order; -0 and +0 are one value, as they are for a comparison.
uint32_t ordered_key(float x) {
  const auto bits = std::bit_cast<uint32_t>(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// What a cut keeps: every key above `key`, and of those equal to it the `num_equal` with the lowest ids.
struct Threshold {
  uint32_t key = 0;
  int64_t num_equal = 0;
};

struct Candidate {
  uint32_t key;
  int64_t id;
  double weight;
};

// Scratch memory of one thread.
struct Workspace {
  std::vector<float> weights;
  std::vector<double> block_sums;
  std::vector<Candidate> candidates, pool, narrowed;
  std::vector<double> histogram;
};

constexpr int kDigitBits = 11;  // 32 bits in three digits: 11, 11, 10
constexpr std::array<int, 3> kShifts = {21, 10, 0};

// The threshold of the shortest prefix, in descending order of key and ascending order of id, whose weights
// reach `goal`: a radix selection, most significant digit first, that only keeps the one bucket in which the
// goal is reached. `candidates` is used up. If all weights together stay below the goal (by rounding),
// everything is kept.
Threshold select_prefix(std::vector<Candidate>& candidates, double goal, Workspace& work) {
  double reached = 0;
  for (const int shift : kShifts) {
    const auto digit = [&](const Candidate& c) { return (c.key >> shift) & ((1u << kDigitBits) - 1); };
    work.histogram.assign(1u << kDigitBits, 0.0);
    std::array<uint64_t, (1u << kDigitBits) / 64> present{};
    for (const Candidate& c : candidates) {
      work.histogram[digit(c)] += c.weight;
      present[digit(c) / 64] |= uint64_t{1} << (digit(c) % 64);
    }
    // Descend to the bucket where the goal is reached; at the end of rounding, the lowest that holds
    // anything.
    uint32_t bucket = 0;
    double before = reached;
    for (uint32_t b = 1u << kDigitBits; b-- > 0;) {
      if (!(present[b / 64] >> (b % 64) & 1)) continue;
      bucket = b;
      before = reached;
      reached += work.histogram[b];
      if (reached >= goal) break;
    }
    reached = before;
    work.narrowed.clear();
    for (const Candidate& c : candidates)
      if (digit(c) == bucket) work.narrowed.push_back(c);
    std::swap(candidates, work.narrowed);
  }
  // All keys are equal now and ids ascend.
  Threshold out{candidates.front().key, 0};
  for (const Candidate& c : candidates) {
    ++out.num_equal;
    reached += c.weight;
    if (reached >= goal) break;
  }
  return out;
}

// Drops what `threshold` does not keep; ids ascend before and after.
void drop_rest(const Threshold& threshold, std::vector<Candidate>& candidates) {
  int64_t num_equal = 0;
  std::erase_if(candidates, [&](const Candidate& c) {
    return c.key < threshold.key || (c.key == threshold.key && num_equal++ >= threshold.num_equal);
  });
}

// Keeps the shortest prefix of the candidates that reaches `goal`.
void keep_prefix(double goal, Workspace& work) {
  work.pool = work.candidates;
  drop_rest(select_prefix(work.pool, goal, work), work.candidates);
}

// Fills work.candidates with a superset of the shortest prefix of the row that reaches `goal`, ids ascending:
// the top digits that are needed. One pass to add up, one to collect, so that what follows looks at few
// tokens.
template <class Weight>
void collect(const float* logits, int64_t vocab, double goal, const Weight& weight, Workspace& work) {
  constexpr int kShift = kShifts[0];
  work.histogram.assign(1u << kDigitBits, 0.0);
  for (int64_t i = 0; i < vocab; ++i) work.histogram[ordered_key(logits[i]) >> kShift] += weight(i);
  uint32_t lowest = 1u << kDigitBits;
  double reached = 0;
  while (lowest > 0 && reached < goal) reached += work.histogram[--lowest];
  work.candidates.clear();
  for (int64_t i = 0; i < vocab; ++i) {
    const uint32_t key = ordered_key(logits[i]);
    if (key >> kShift >= lowest && weight(i) > 0) work.candidates.push_back({key, i, weight(i)});
  }
}

bool cuts(const SamplerOptions& o, int64_t vocab) {
  return o.temperature > 0 && ((o.top_k > 0 && o.top_k < vocab) || o.top_p < 1);
}

// Sets the weights of tokens that top-k and top-p remove to 0.
void cut_row(const float* logits, int64_t vocab, const SamplerOptions& o, double total, Workspace& work) {
  const auto weight = [&](int64_t i) { return static_cast<double>(work.weights[static_cast<size_t>(i)]); };
  double kept = total;
  if (o.top_k > 0 && o.top_k < vocab) {
    const auto one = [](int64_t) { return 1.0; };
    collect(logits, vocab, static_cast<double>(o.top_k), one, work);
    keep_prefix(static_cast<double>(o.top_k), work);
    kept = 0;
    for (Candidate& c : work.candidates) kept += c.weight = weight(c.id);
    std::erase_if(work.candidates, [](const Candidate& c) { return c.weight <= 0; });
  } else {
    collect(logits, vocab, o.top_p * total, weight, work);
  }
  if (o.top_p < 1) keep_prefix(o.top_p * kept, work);
  std::fill(work.weights.begin(), work.weights.end(), 0.0f);
  for (const Candidate& c : work.candidates)
    work.weights[static_cast<size_t>(c.id)] = static_cast<float>(c.weight);
}

struct RowDraw {
  int64_t token = 0;
  double logprob = 0, entropy = 0, cut_mass = 0;
};

int64_t first_index_of(const float* logits, int64_t vocab, float value) {
  int64_t i = 0;
  while (i < vocab && logits[i] != value) ++i;
  return i;
}

// REQUIRES: max is finite and the row holds no NaN.
RowDraw draw_row(const float* logits, int64_t vocab, float max, const SamplerOptions& o,
                 const core::rng::Key& key, Workspace& work) {
  const double temperature = o.temperature > 0 ? o.temperature : 1.0;
  work.weights.resize(static_cast<size_t>(vocab));
  work.block_sums.resize(static_cast<size_t>(num_sample_blocks(vocab)));
  const RowSums sums = exp_row(logits, vocab, max, static_cast<float>(1.0 / temperature), work.weights.data(),
                               work.block_sums.data());
  RowDraw out;
  if (o.temperature > 0) {
    double kept = sums.total;
    if (cuts(o, vocab)) {
      cut_row(logits, vocab, o, sums.total, work);
      kept = sum_blocks(work.weights.data(), vocab, work.block_sums.data());
      out.cut_mass = std::max(0.0, 1.0 - kept / sums.total);
    }
    out.token = invert_cdf(work.weights.data(), vocab, work.block_sums.data(), kept, core::rng::uniform(key));
  } else {
    out.token = first_index_of(logits, vocab, max);
  }
  const double log_total = std::log(sums.total);
  out.logprob = (static_cast<double>(logits[out.token]) - static_cast<double>(max)) / temperature - log_total;
  out.entropy = log_total - sums.spread / sums.total;
  return out;
}

void check_options(const SamplerOptions& o) {
  PAN_CHECK(o.temperature == 0 || (o.temperature >= kLowestTemperature && std::isfinite(o.temperature)),
            kInternal, "the temperature must be 0 or at least " + std::to_string(kLowestTemperature))
      .got(std::to_string(o.temperature));
  PAN_CHECK(o.top_k >= 0, kInternal, "top_k must be >= 0").got(std::to_string(o.top_k));
  PAN_CHECK(o.top_p > 0 && o.top_p <= 1, kInternal, "top_p must lie in (0, 1]").got(std::to_string(o.top_p));
}

at::Tensor host_rows(const at::Tensor& logits) {
  PAN_CHECK(logits.dim() == 2 && logits.size(1) > 0, kInternal, "logits must be [B, V]")
      .got(c10::str(logits.sizes()));
  if (logits.is_cpu()) return logits.detach().to(at::kFloat).contiguous();  // [B, V]
  // Pinned memory, which the allocator keeps for the next call, takes a copy from a GPU several times faster.
  at::Tensor rows = at::empty(logits.sizes(), at::TensorOptions(at::kFloat).pinned_memory(true));  // [B, V]
  return rows.copy_(logits.detach());
}

float checked_max(const float* logits, int64_t vocab, int64_t row) {
  const RowMax m = row_max(logits, vocab);
  if (m.has_nan || !std::isfinite(m.max))
    throw NonFiniteLogits(row, m.has_nan ? "NaN" : m.max > 0 ? "+infinity" : "no finite logit");
  return m.max;
}

}  // namespace

NonFiniteLogits::NonFiniteLogits(int64_t row_index, const std::string& found)
    : core::Error(core::ErrorKind::kGuard, "logits are not finite"), row_(row_index) {
  pointer("row " + std::to_string(row_index));
  got(found);
  remedy("The weights have probably diverged: go back to a checkpoint, lower the learning rate.");
}

Draws sample_rows(const at::Tensor& logits, const SamplerOptions& options,
                  const std::vector<core::rng::Key>& keys) {
  check_options(options);
  const at::Tensor rows = host_rows(logits);
  const int64_t num_rows = rows.size(0), vocab = rows.size(1);
  PAN_CHECK(static_cast<int64_t>(keys.size()) == num_rows, kInternal, "one key per row of logits")
      .expected(std::to_string(num_rows))
      .got(std::to_string(keys.size()));
  Draws out;
  const auto n = static_cast<size_t>(num_rows);
  out.tokens.resize(n);
  out.logprobs.resize(n);
  out.cut_mass.resize(n);
  if (options.entropy) out.entropies.resize(n);
  const float* data = rows.const_data_ptr<float>();
  // Waking threads costs more than a small vocabulary's row.
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / vocab);
  at::parallel_for(0, num_rows, grain, [&](int64_t begin, int64_t end) {
    thread_local Workspace work;
    for (int64_t b = begin; b < end; ++b) {
      const float* row = data + b * vocab;
      const auto i = static_cast<size_t>(b);
      const RowDraw d = draw_row(row, vocab, checked_max(row, vocab, b), options, keys[i], work);
      out.tokens[i] = d.token;
      out.logprobs[i] = static_cast<float>(d.logprob);
      out.cut_mass[i] = static_cast<float>(d.cut_mass);
      if (options.entropy) out.entropies[i] = static_cast<float>(d.entropy);
    }
  });
  return out;
}

std::vector<int64_t> kept_tokens(const at::Tensor& logits, const SamplerOptions& options) {
  check_options(options);
  const at::Tensor rows = host_rows(logits.unsqueeze(0));
  const int64_t vocab = rows.size(1);
  const float* row = rows.const_data_ptr<float>();
  const float max = checked_max(row, vocab, 0);
  if (options.temperature == 0) return {first_index_of(row, vocab, max)};
  Workspace work;
  work.weights.resize(static_cast<size_t>(vocab));
  work.block_sums.resize(static_cast<size_t>(num_sample_blocks(vocab)));
  const RowSums sums = exp_row(row, vocab, max, static_cast<float>(1.0 / options.temperature),
                               work.weights.data(), work.block_sums.data());
  if (cuts(options, vocab)) cut_row(row, vocab, options, sums.total, work);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < vocab; ++i)
    if (work.weights[static_cast<size_t>(i)] > 0) out.push_back(i);
  return out;
}

}  // namespace pan::rollout
