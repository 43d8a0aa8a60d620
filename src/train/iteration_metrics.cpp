#include "train/iteration_metrics.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/memory.h"
#include "metrics/metric.h"
#include "train/flops.h"
#include "train/length_curriculum_config.h"

namespace pan::train {
namespace {

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

double deviation(const std::vector<double>& x) {
  metrics::MetricSet set;
  set.spread("x", x);
  return set.values().at("x");
}

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return x.empty() ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(x.size());
}

void sampling_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  if (!s.config.train.dynamic_sampling.enabled) return;
  m.last("sampling/refills", static_cast<double>(it.refills));
  m.last("sampling/dropped_prompts", static_cast<double>(it.dropped_prompts));
  m.last("sampling/dropped_right_prompts", static_cast<double>(it.dropped_right));
  m.last("sampling/kept_prompts", static_cast<double>(it.prompts.size()));
  m.mean("sampling/accuracy", static_cast<double>(it.sampled_right), static_cast<double>(it.sampled));
}

// Of a mix: the first part of a problem's group is the label of its task.
void task_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  struct Sums {
    double sequences = 0, correct = 0, reward = 0;
  };
  std::map<std::string, Sums> by_task;
  const auto samples = static_cast<size_t>(s.config.train.samples_per_prompt);
  for (size_t i = 0; i < it.verdicts.size(); ++i) {
    const std::string& group = it.prompts[i / samples].problem.group;
    Sums& sums = by_task[group.substr(0, group.find('/'))];
    sums.sequences += 1;
    sums.correct += it.verdicts[i].correct;
    sums.reward += it.task_rewards[i];
  }
  for (const auto& [task, sums] : by_task) {
    m.mean("reward/accuracy/" + task, sums.correct, sums.sequences);
    m.mean("reward/score/" + task, sums.reward, sums.sequences);
    m.mean("prompts/share/" + task, sums.sequences, static_cast<double>(it.verdicts.size()));
  }
}

// Of answers with cells (logic grids), by size; in a mix by its label as well.
void cell_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  struct Sums {
    double sequences = 0, correct = 0, unanswered = 0, right_cells = 0, cells = 0;
  };
  std::map<std::string, Sums> by_group;
  const auto samples = static_cast<size_t>(s.config.train.samples_per_prompt);
  for (size_t i = 0; i < it.verdicts.size(); ++i) {
    const tasks::Problem& problem = it.prompts[i / samples].problem;
    if (problem.num_cells == 0) continue;
    for (const std::string& group : {std::string(), problem.group}) {
      Sums& sums = by_group[group];
      sums.sequences += 1;
      sums.correct += it.verdicts[i].correct;
      sums.unanswered += !it.verdicts[i].answered;
      sums.right_cells += static_cast<double>(it.verdicts[i].right_cells);
      sums.cells += static_cast<double>(problem.num_cells);
    }
  }
  for (const auto& [group, sums] : by_group) {
    const std::string suffix = group.empty() ? "" : "/" + group;
    m.mean("reward/cell_accuracy" + suffix, sums.right_cells, sums.cells);
    if (group.empty()) continue;
    m.mean("reward/accuracy" + suffix, sums.correct, sums.sequences);
    m.mean("reward/no_answer_rate" + suffix, sums.unanswered, sums.sequences);
  }
}

void reward_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  std::map<std::string, std::vector<double>> terms, right, wrong;
  double correct = 0, unanswered = 0;
  for (const tasks::Verdict& v : it.verdicts) {
    correct += v.correct;
    unanswered += !v.answered;
    for (const auto& [name, value] : v.terms) {
      terms[name].push_back(value);
      (v.correct ? right : wrong)[name].push_back(value);
    }
  }
  const auto n = static_cast<double>(it.verdicts.size());
  m.three("critic/score", it.task_rewards);
  for (const auto& [name, values] : terms) {
    m.last("reward/" + name + "/mean", mean(values));
    m.last("reward/" + name + "/std", deviation(values));
  }
  for (const auto& [name, values] : right) m.last("reward/" + name + "/right", mean(values));
  for (const auto& [name, values] : wrong) m.last("reward/" + name + "/wrong", mean(values));
  m.mean("reward/accuracy", correct, n);
  m.mean("reward/no_answer_rate", unanswered, n);
  if (s.config.task.name == "mix") task_metrics(s, it, m);
  cell_metrics(s, it, m);
  const auto group_size = static_cast<size_t>(s.config.train.samples_per_prompt);
  std::vector<double> group_deviation;
  double flat_groups = 0;
  for (size_t i = 0; i + group_size <= it.task_rewards.size(); i += group_size) {
    const auto begin = it.task_rewards.begin() + static_cast<std::ptrdiff_t>(i);
    group_deviation.push_back(deviation({begin, begin + static_cast<std::ptrdiff_t>(group_size)}));
    flat_groups += group_deviation.back() < 1e-12;
  }
  m.last("reward/group_std/mean", mean(group_deviation));
  m.mean("reward/zero_std_share", flat_groups, static_cast<double>(group_deviation.size()));
  double total = 0;
  for (size_t i = 0; i < it.task_rewards.size(); ++i)
    total += it.task_rewards[i] +
             (it.rhythm_rewards.sequences.empty() ? 0.0 : it.rhythm_rewards.sequences[i].total);
  m.mean("reward/total/mean", total, n);
}

// Shares of the samples in eighths of (0, limit], the first of them from 0 on.
void histogram(const std::string& prefix, const std::vector<double>& lengths, int64_t limit,
               metrics::MetricSet& m) {
  constexpr int kParts = 8;
  std::vector<double> counts(kParts);
  for (double length : lengths) {
    const double part = std::ceil(length * kParts / static_cast<double>(std::max<int64_t>(1, limit)));
    counts[static_cast<size_t>(std::clamp(part, 1.0, double{kParts})) - 1] += 1;
  }
  for (int i = 0; i < kParts; ++i)
    m.mean(prefix + "/hist/" + std::to_string(i + 1), counts[static_cast<size_t>(i)],
           static_cast<double>(lengths.size()));
}

void length_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  std::vector<double> prompts, responses;
  double truncated = 0, stop_string = 0, end_of_text = 0, cut_mass = 0, empty = 0, full = 0;
  for (size_t i = 0; i < it.samples.size(); ++i) {
    prompts.push_back(static_cast<double>(it.sequences[i].prompt_length));
    responses.push_back(static_cast<double>(it.sequences[i].response_length()));
    truncated += it.samples[i].finish == rollout::FinishReason::kLength;
    stop_string += it.samples[i].finish == rollout::FinishReason::kStopString;
    end_of_text += it.samples[i].finish == rollout::FinishReason::kEndOfText;
    cut_mass += it.samples[i].cut_mass;
    const bool ended = it.samples[i].finish == rollout::FinishReason::kEndOfText;
    empty += it.sequences[i].response_length() <= (ended ? 1 : 0);
    full += it.sequences[i].prompt_length >= s.config.train.max_prompt_tokens;
  }
  const auto n = static_cast<double>(it.samples.size());
  m.three("prompt_length", prompts);
  m.three("response_length", responses);
  histogram("prompt_length", prompts, s.config.train.max_prompt_tokens, m);
  histogram("response_length", responses, s.config.rollout.max_new_tokens, m);
  if (!s.config.train.length_curriculum.empty())
    m.last("response_length/limit",
           static_cast<double>(
               response_limit(s.config.train.length_curriculum, s.config.rollout.max_new_tokens, it.index)));
  m.mean("prompt_length/clip_ratio", full, n);
  m.mean("response_length/clip_ratio", truncated, n);
  m.mean("response/aborted_ratio", empty, n);
  m.mean("response/stop_string_ratio", stop_string, n);
  m.mean("response/end_of_text_ratio", end_of_text, n);
  m.mean("rollout/cut_mass_mean", cut_mass, n);
  m.last("prompts/skipped", static_cast<double>(s.prompts->num_skipped()));
}

void rhythm_metrics(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  if (it.rhythm.empty()) return;
  m.last("rhythm/sigma/entropy", s.state.moments.entropy.sigma());
  m.last("rhythm/sigma/concentration", s.state.moments.concentration.sigma());
  m.last("rhythm/groups/overlap_local", s.state.groups.local_overlap);
  m.last("rhythm/groups/overlap_global", s.state.groups.global_overlap);
  m.last("rhythm/groups/refreshed", s.state.groups_iteration == it.index ? 1 : 0);
}

// Model FLOPs utilisation: operations of the formulas in flops.h over what the device could have done in the
// time. A backward pass counts twice a forward.
void utilisation(const Session& s, const Iteration& it, metrics::MetricSet& m) {
  if (s.peak_flops <= 0) return;
  const double actor = forward_flops(s.policy->arch(), it.sequences, true);
  const double critic = s.critic ? forward_flops(s.critic->arch(), it.sequences, false) : 0.0;
  auto put = [&](const std::string& name, double flops, double seconds) {
    if (flops > 0 && seconds > 0) m.last("perf/mfu/" + name, flops / seconds / s.peak_flops);
  };
  auto metric = [&](const std::string& key) {
    const auto found = it.metrics.find(key);
    return found == it.metrics.end() ? 0.0 : found->second;
  };
  const auto epochs = static_cast<double>(s.config.rl.ppo.epochs);
  const double steps = metric("actor/optimizer_steps") + metric("actor/skipped_steps");
  put("actor", 3 * actor * epochs * steps / static_cast<double>(std::max<int64_t>(1, it.plan.num_steps())),
      metric("timing_s/update_actor"));
  put("critic", 3 * critic * epochs, metric("timing_s/update_critic"));
  put("actor_infer", actor * (s.reference ? 2 : 1) + critic, it.seconds.at("score"));
  put("rollout", actor, it.seconds.at("gen"));
}

// Of a task that has so many prompts and no more.
void epoch_metric(const Session& s, metrics::MetricSet& m) {
  const int64_t size = s.task->size(tasks::Split::kTrain);
  if (size > 0)
    m.last("training/epoch", static_cast<double>(s.prompts->position()) / static_cast<double>(size));
}

void device_memory(const Session& s, metrics::MetricSet& m) {
  const at::Device device = s.policy->options().device;
  if (!device.is_cuda()) return;
  const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(std::max<int>(0, device.index()));
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  m.last("perf/max_memory_allocated_gb", static_cast<double>(stats.allocated_bytes[kAll].peak) / kGiB);
}

void time_metrics(const Iteration& it, metrics::MetricSet& m) {
  double step = 0, prompt_tokens = 0, response_tokens = 0;
  for (const auto& [phase, seconds] : it.seconds) {
    m.last("timing_s/" + phase, seconds);
    step += seconds;
  }
  for (const rl::TrainSequence& sequence : it.sequences) {
    prompt_tokens += static_cast<double>(sequence.prompt_length);
    response_tokens += static_cast<double>(sequence.response_length());
  }
  for (const auto& [phase, seconds] : it.seconds)
    m.last("timing_per_token_ms/" + phase,
           1e3 * seconds / (phase == "gen" ? response_tokens : prompt_tokens + response_tokens));
  m.last("timing_s/step", step);
  if (const auto tap = it.seconds.find("tap"); tap != it.seconds.end())
    m.last("perf/tap_share", tap->second / step);
  m.last("perf/time_per_step", step);
  m.last("perf/total_num_tokens", prompt_tokens + response_tokens);
  m.last("perf/throughput", (prompt_tokens + response_tokens) / step);
  m.last("perf/gen_throughput", response_tokens / it.seconds.at("gen"));
  m.last("perf/cpu_memory_used_gb", static_cast<double>(core::resident_bytes()) / kGiB);
  m.last("perf/cpu_memory_peak_gb", static_cast<double>(core::peak_resident_bytes()) / kGiB);
}

}  // namespace

void collect_metrics(const Session& s, Iteration& it) {
  metrics::MetricSet m;
  sampling_metrics(s, it, m);
  if (it.sequences.empty()) {  // dynamic sampling left nothing
    m.last("timing_s/gen", it.seconds.at("gen"));
    m.last("timing_s/reward", it.seconds.at("reward"));
    m.last("timing_s/step", it.seconds.at("gen") + it.seconds.at("reward"));
    epoch_metric(s, m);
    m.last("training/global_step", static_cast<double>(it.index + 1));
    m.last("training/num_sequences", 0);
    for (const auto& [key, value] : m.values()) it.metrics.emplace(key, value);
    return;
  }
  reward_metrics(s, it, m);
  length_metrics(s, it, m);
  rhythm_metrics(s, it, m);
  m.put(rl::sampler_mismatch(it.sequences, it.scored));
  time_metrics(it, m);
  device_memory(s, m);
  epoch_metric(s, m);
  utilisation(s, it, m);
  m.last("training/global_step", static_cast<double>(it.index + 1));
  m.last("training/num_sequences", static_cast<double>(it.sequences.size()));
  for (const auto& [key, value] : m.values()) it.metrics.emplace(key, value);
}

}  // namespace pan::train
