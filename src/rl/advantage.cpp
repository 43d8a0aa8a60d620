#include "rl/advantage.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "core/error.h"
#include "rl/kl.h"

namespace pan::rl {

std::vector<double> gae(const std::vector<double>& rewards, const std::vector<double>& values, double gamma,
                        double lambda) {
  std::vector<double> out(rewards.size());
  double next_value = 0, next_advantage = 0;
  for (size_t t = rewards.size(); t-- > 0;) {
    const double delta = rewards[t] + gamma * next_value - values[t];
    next_advantage = delta + gamma * lambda * next_advantage;
    next_value = values[t];
    out[t] = next_advantage;
  }
  return out;
}

void whiten(std::vector<double>& x, const std::vector<int64_t>& offsets,
            const std::vector<uint8_t>& trained) {
  double n = 0, sum = 0, square = 0;
  const auto each = [&](auto&& use) {
    for (size_t i = 0; i < trained.size(); ++i)
      if (trained[i])
        for (auto t = static_cast<size_t>(offsets[i]); t < static_cast<size_t>(offsets[i + 1]); ++t)
          use(x[t]);
  };
  each([&](double v) { n += 1, sum += v; });
  const double mean = n > 0 ? sum / n : 0;
  each([&](double v) { square += (v - mean) * (v - mean); });
  const double scale = n < 2 ? 1.0 : 1.0 / std::sqrt(square / (n - 1) + 1e-8);
  std::vector<double> result(x.size(), 0.0);
  for (size_t i = 0; i < trained.size(); ++i)
    if (trained[i])
      for (auto t = static_cast<size_t>(offsets[i]); t < static_cast<size_t>(offsets[i + 1]); ++t)
        result[t] = (x[t] - mean) * scale;
  x = std::move(result);
}

namespace {

using Doubles = std::vector<double>;

Doubles to_doubles(const at::Tensor& t, int64_t size, const char* name) {
  PAN_CHECK(t.dim() == 1 && t.size(0) == size, kInternal,
            "a tensor does not have one entry per response token")
      .pointer(name)
      .expected("[" + std::to_string(size) + "]")
      .got(std::to_string(t.numel()) + " entries");
  const at::Tensor d = t.detach().to(at::kCPU, at::kDouble).contiguous();
  return {d.const_data_ptr<double>(), d.const_data_ptr<double>() + size};
}

at::Tensor to_floats(const Doubles& x) { return at::tensor(x, at::kDouble).to(at::kFloat); }

struct Range {
  double sum = 0, min = INFINITY, max = -INFINITY, count = 0;
  void add(double v) { sum += v, count += 1, min = std::min(min, v), max = std::max(max, v); }
  void write(Metrics& m, const std::string& name) const {
    if (count == 0) return;
    m[name + "/mean"] = sum / count;
    m[name + "/max"] = max;
    m[name + "/min"] = min;
  }
};

// One iteration's arithmetic; the members are filled in the order of compute_advantages.
struct Work {
  const RewardInput& in;
  const RlConfig& config;
  const std::vector<int64_t>& offsets;
  size_t num_sequences;
  double kl_coefficient;
  std::vector<uint8_t> trained;
  Doubles score;      // [B] task reward less the penalties for length
  Doubles kl, k1;     // [R] the chosen estimator and k1; empty without a reference
  Doubles rhythm;     // [R]; empty where nothing is to be added
  Doubles rewards;    // [R] everything paid, at its token
  Doubles values;     // [R]; empty without critic
  Doubles advantage;  // [R]
  Doubles part;       // [R] what the rhythm payments contribute to `advantage` before whitening

  size_t begin(size_t i) const { return static_cast<size_t>(offsets[i]); }
  size_t end(size_t i) const { return static_cast<size_t>(offsets[i + 1]); }
  bool kl_in_reward() const { return !kl.empty() && kl_place(config) == KlPlace::kReward; }

  template <class F>
  void each_trained(F&& use) const {
    for (size_t i = 0; i < num_sequences; ++i)
      if (trained[i])
        for (size_t t = begin(i); t < end(i); ++t) use(t);
  }
};

// Yu et al. 2025, Eq. 13: 0 up to limit - buffer, then in proportion down to -penalty at the limit.
double length_penalty(const TrainSequence& s, const AdvantageConfig& c, int64_t limit) {
  double penalty = s.truncated ? c.missing_eos_penalty : 0.0;
  const int64_t over = s.response_length() - (limit - c.overlong_buffer_tokens);
  if (c.overlong_buffer_tokens > 0 && over > 0)
    penalty += c.overlong_penalty *
               std::min(1.0, static_cast<double>(over) / static_cast<double>(c.overlong_buffer_tokens));
  return penalty;
}

void pay(Work& w, int64_t limit) {
  const AdvantageConfig& c = w.config.advantage;
  w.rewards.assign(static_cast<size_t>(w.offsets.back()), 0.0);
  for (size_t i = 0; i < w.num_sequences; ++i) {
    const TrainSequence& s = w.in.sequences[i];
    w.trained.push_back(w.begin(i) < w.end(i) && !(c.mask_truncated && s.truncated));
    w.score.push_back(w.in.task_reward[i] - length_penalty(s, c, limit));
    if (w.kl_in_reward())
      for (size_t t = w.begin(i); t < w.end(i); ++t) w.rewards[t] = -w.kl_coefficient * w.kl[t];
    if (w.begin(i) < w.end(i)) w.rewards[w.end(i) - 1] += w.score[i];
  }
  if (!w.rhythm.empty())
    for (size_t t = 0; t < w.rewards.size(); ++t) w.rewards[t] += w.rhythm[t];
}

// sum over t' >= t of gamma^(t'-t) x_t', sequence by sequence.
Doubles suffix_sums(const Work& w, const Doubles& x, double gamma) {
  Doubles out(x.size());
  for (size_t i = 0; i < w.num_sequences; ++i) {
    double sum = 0;
    for (size_t t = w.end(i); t-- > w.begin(i);) out[t] = sum = x[t] + gamma * sum;
  }
  return out;
}

void estimate_gae(Work& w) {
  const AdvantageConfig& c = w.config.advantage;
  PAN_CHECK(!w.values.empty() || w.offsets.back() == 0, kInternal, "gae without values");
  w.advantage.resize(w.rewards.size());
  for (size_t i = 0; i < w.num_sequences; ++i) {
    const auto slice = [&](const Doubles& x) {
      return Doubles(x.begin() + w.offsets[i], x.begin() + w.offsets[i + 1]);
    };
    const Doubles a = gae(slice(w.rewards), slice(w.values), c.gamma, c.lambda);
    std::copy(a.begin(), a.end(), w.advantage.begin() + w.offsets[i]);
  }
  if (!w.rhythm.empty()) w.part = suffix_sums(w, w.rhythm, c.gamma * c.lambda);
}

// What one member's score is worth beside the others of its group.
double against_group(const Doubles& scores, double score, Estimator estimator) {
  const auto n = static_cast<double>(scores.size());
  double sum = 0, square = 0;
  for (double s : scores) sum += s;
  const double mean = sum / n;
  if (estimator == Estimator::kRloo) return score - (sum - score) / (n - 1);
  if (estimator != Estimator::kGrpo) return score - mean;
  for (double s : scores) square += (s - mean) * (s - mean);
  const double deviation = std::sqrt(square / n);
  return deviation < 1e-6 ? 0.0 : (score - mean) / (deviation + 1e-6);
}

void estimate_by_group(Work& w) {
  std::map<int64_t, Doubles> groups;
  Doubles outcome(w.num_sequences);
  for (size_t i = 0; i < w.num_sequences; ++i) {
    outcome[i] = w.score[i];
    if (w.kl_in_reward())  // part of the outcome, unlike the rhythm payments (rho below)
      for (size_t t = w.begin(i); t < w.end(i); ++t) outcome[i] -= w.kl_coefficient * w.kl[t];
    groups[w.in.sequences[i].group].push_back(outcome[i]);
  }
  for (const auto& [group, scores] : groups)
    PAN_CHECK(scores.size() >= 2, kConfig,
              "this estimator compares the answers of one prompt, and a prompt has one")
        .pointer("/advantage/estimator")
        .where("group " + std::to_string(group))
        .remedy("Sample at least 2 answers per prompt (train.samples_per_prompt).");
  w.advantage.resize(w.rewards.size());
  for (size_t i = 0; i < w.num_sequences; ++i) {
    const double a = against_group(groups[w.in.sequences[i].group], outcome[i], w.config.advantage.estimator);
    for (size_t t = w.begin(i); t < w.end(i); ++t) w.advantage[t] = a;
  }
  if (w.rhythm.empty()) return;
  w.part = suffix_sums(w, w.rhythm, 1.0);
  for (size_t t = 0; t < w.advantage.size(); ++t) w.advantage[t] += w.part[t];
}

void estimate(Work& w) {
  const Estimator e = w.config.advantage.estimator;
  if (e == Estimator::kGae) {
    estimate_gae(w);
  } else if (e == Estimator::kReinforcePlusPlus) {
    w.advantage = suffix_sums(w, w.rewards, w.config.advantage.gamma);
    if (!w.rhythm.empty()) w.part = suffix_sums(w, w.rhythm, w.config.advantage.gamma);
  } else {
    estimate_by_group(w);
  }
}

bool whitens(const AdvantageConfig& c) {
  return c.whiten && (c.estimator == Estimator::kGae || c.estimator == Estimator::kReinforcePlusPlus ||
                      c.estimator == Estimator::kReinforcePlusPlusBaseline);
}

double deviation(const Work& w, const Doubles& a, const Doubles& b, double sign) {
  double n = 0, sum = 0, square = 0;
  const auto value = [&](size_t t) { return (a.empty() ? 0.0 : a[t]) + sign * (b.empty() ? 0.0 : b[t]); };
  w.each_trained([&](size_t t) { n += 1, sum += value(t); });
  w.each_trained([&](size_t t) { square += (value(t) - sum / n) * (value(t) - sum / n); });
  return n == 0 ? 0.0 : std::sqrt(square / n);
}

std::vector<Paid> paid_by_sequence(const Work& w) {
  std::vector<Paid> paid(w.num_sequences);
  for (size_t i = 0; i < w.num_sequences; ++i) {
    paid[i].length_penalty = w.score[i] - w.in.task_reward[i];
    for (size_t t = w.begin(i); t < w.end(i); ++t) {
      if (w.kl_in_reward()) paid[i].kl -= w.kl_coefficient * w.kl[t];
      paid[i].total += w.rewards[t];
    }
  }
  return paid;
}

void reward_metrics(const Work& w, const std::vector<Paid>& paid, Metrics& m) {
  Range score, rewards;
  double penalty = 0, masked = 0;
  for (size_t i = 0; i < w.num_sequences; ++i) {
    score.add(w.in.task_reward[i]);
    rewards.add(paid[i].total);
    penalty -= paid[i].length_penalty;
    masked += w.trained[i] ? 0 : 1;
  }
  score.write(m, "critic/score");
  rewards.write(m, "critic/rewards");
  const double n = std::max<double>(1, static_cast<double>(w.num_sequences));
  m["reward/length_penalty/mean"] = penalty / n;
  m["actor/masked_sequences"] = masked;
}

void value_metrics(const Work& w, const Doubles& returns, Metrics& m) {
  Range r, v;
  double n = 0, sum = 0, error_sum = 0, square = 0, error_square = 0;
  w.each_trained([&](size_t t) {
    r.add(returns[t]), v.add(w.values[t]);
    n += 1, sum += returns[t], error_sum += returns[t] - w.values[t];
  });
  w.each_trained([&](size_t t) {
    const double error = returns[t] - w.values[t] - error_sum / n;
    square += (returns[t] - sum / n) * (returns[t] - sum / n);
    error_square += error * error;
  });
  r.write(m, "critic/returns");
  v.write(m, "critic/values");
  if (square > 0) m["critic/vf_explained_var"] = 1.0 - error_square / square;
}

double mean_per_sequence(const Work& w, const Doubles& x) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < w.num_sequences; ++i) {
    if (w.begin(i) == w.end(i)) continue;
    double one = 0;
    for (size_t t = w.begin(i); t < w.end(i); ++t) one += x[t];
    sum += one / static_cast<double>(w.end(i) - w.begin(i));
    count += 1;
  }
  return count == 0 ? 0.0 : sum / count;
}

void read_inputs(Work& w) {
  const int64_t n = w.offsets.back();
  PAN_CHECK(w.in.task_reward.size() == w.num_sequences && w.in.sequences.size() == w.num_sequences, kInternal,
            "rewards do not match the sequences")
      .expected(std::to_string(w.num_sequences))
      .got(std::to_string(w.in.task_reward.size()));
  if (w.in.scored.reference_logprobs.defined()) {
    const Doubles p = to_doubles(w.in.scored.logprobs, n, "logprobs");
    const Doubles q = to_doubles(w.in.scored.reference_logprobs, n, "reference_logprobs");
    w.kl.resize(p.size());
    w.k1.resize(p.size());
    for (size_t t = 0; t < p.size(); ++t) {
      w.kl[t] = kl_token(p[t], q[t], kl_estimator(w.config));
      w.k1[t] = p[t] - q[t];
    }
  }
  PAN_CHECK(kl_place(w.config) != KlPlace::kReward || w.in.scored.reference_logprobs.defined(), kInternal,
            "KL in the reward without reference log-probabilities");
  if (w.in.rhythm.defined()) w.rhythm = to_doubles(w.in.rhythm, n, "rhythm");
  if (w.in.scored.values.defined()) w.values = to_doubles(w.in.scored.values, n, "values");
}

}  // namespace

Advantages compute_advantages(const RewardInput& input, const RlConfig& config, double kl_coefficient,
                              int64_t max_response_tokens) {
  Work w{.in = input,
         .config = config,
         .offsets = input.scored.offsets,
         .num_sequences = static_cast<size_t>(input.scored.num_sequences()),
         .kl_coefficient = kl_coefficient,
         .trained = {},
         .score = {},
         .kl = {},
         .k1 = {},
         .rhythm = {},
         .rewards = {},
         .values = {},
         .advantage = {},
         .part = {}};
  read_inputs(w);
  pay(w, max_response_tokens);
  estimate(w);

  Advantages out;
  out.trained = w.trained;
  out.paid = paid_by_sequence(w);
  reward_metrics(w, out.paid, out.metrics);
  out.metrics["rhythm/advantage_std/task"] = deviation(w, w.advantage, w.part, -1.0);
  out.metrics["rhythm/advantage_std/rhythm"] = deviation(w, {}, w.part, 1.0);
  if (config.advantage.estimator == Estimator::kGae) {
    Doubles returns = w.advantage;
    for (size_t t = 0; t < returns.size(); ++t) returns[t] += w.values[t];
    value_metrics(w, returns, out.metrics);
    out.returns = to_floats(returns);
  }
  if (!w.kl.empty()) {
    out.kl = mean_per_sequence(w, w.kl);
    out.metrics["critic/kl"] = mean_per_sequence(w, w.k1);
  }
  if (w.kl_in_reward()) {
    out.metrics["actor/reward_kl_penalty"] = out.kl;
    out.metrics["actor/reward_kl_penalty_coeff"] = kl_coefficient;
  }
  if (whitens(config.advantage)) whiten(w.advantage, w.offsets, w.trained);
  out.advantages = to_floats(w.advantage);
  if (input.credit.defined()) {
    to_doubles(input.credit, w.offsets.back(), "credit");  // its shape
    out.advantages = out.advantages * input.credit.to(at::kCPU, at::kFloat);
  }
  Range range;
  const float* a = out.advantages.const_data_ptr<float>();
  w.each_trained([&](size_t t) { range.add(a[t]); });
  range.write(out.metrics, "critic/advantages");
  return out;
}

}  // namespace pan::rl
