#include "train/stages.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/stopwatch.h"
#include "model/device.h"
#include "rhythm/credit.h"
#include "rhythm/text.h"
#include "rl/advantage.h"
#include "train/length_curriculum_config.h"

namespace pan::train {
namespace {

int64_t sample_id(const Session& s, int64_t iteration, size_t index) {
  const DynamicSamplingConfig& refill = s.config.train.dynamic_sampling;
  const int64_t rounds = refill.enabled ? 1 + refill.max_refills : 1;
  return iteration * rounds * s.config.sequences_per_iteration() + static_cast<int64_t>(index);
}

int64_t limit_of(const Session& s, const Iteration& it) {
  return response_limit(s.config.train.length_curriculum, s.config.rollout.max_new_tokens, it.index);
}

std::vector<int64_t> prompt_lengths(const rl::Capture& capture) {
  std::vector<int64_t> lengths;
  for (int64_t i : capture.sequences) lengths.push_back(capture.all[static_cast<size_t>(i)].prompt_length);
  return lengths;
}

void stop_if_asked(const StageHooks& hooks) {
  if (hooks.should_stop && hooks.should_stop())
    throw core::Error(core::ErrorKind::kInterrupted, "stopped by a signal");
}

bool groups_are_due(const Session& s, int64_t iteration) {
  const rhythm::RhythmConfig& c = s.config.rhythm;
  if (!c.enabled) return false;
  if (s.state.groups_iteration < 0) return true;
  return c.refresh_every > 0 && iteration - s.state.groups_iteration >= c.refresh_every;
}

// One extra pass over the first calibration_sequences rollouts decides which heads are local and which
// global.
void calibrate(Session& s, const Iteration& it, const rl::Scorer& scorer, const StageHooks& hooks) {
  core::log_debug("iteration " + std::to_string(it.index + 1) + ": calibrating");
  const auto n = std::min(s.config.rhythm.calibration_sequences, static_cast<int64_t>(it.sequences.size()));
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  const rl::Minibatch plan = rl::cut_micro_batches(it.sequences, order, s.config.rl.ppo.micro_batch_tokens);
  rhythm::HeadGroupCalibrator calibrator(s.config.rhythm);
  scorer.visit(it.sequences, plan, s.tap_layers, [&](const rl::Capture& capture) {
    stop_if_asked(hooks);
    calibrator.add(capture.layers, capture.batch.cu_seqlens, prompt_lengths(capture));
  });
  s.state.groups = calibrator.finish();
  s.state.groups_iteration = it.index;
  s.state.moments.reset();
}

// Sum over sequences as [R] float64; undefined where nothing is paid, so that lambda = 0 adds nothing at all.
at::Tensor payment_tensor(const Session& s, const Iteration& it) {
  if (!s.config.rhythm.enabled || s.config.rhythm.lambda == 0) return {};
  at::Tensor paid = at::zeros({it.scored.num_tokens()}, at::kDouble);
  double* p = paid.mutable_data_ptr<double>();
  for (size_t i = 0; i < it.sequences.size(); ++i)
    for (const rhythm::Payment& payment : it.rhythm_rewards.sequences[i].payments)
      p[it.scored.offsets[i] + payment.position - it.sequences[i].prompt_length] += payment.amount;
  return paid;
}

// Prompts with their answers, side by side.
struct Round {
  std::vector<Prompt> prompts;
  std::vector<rollout::Sample> samples;
  std::vector<tasks::Verdict> verdicts;
};

Round sample_round(Session& s, Iteration& it, rollout::Generator& generator, int64_t num_prompts,
                   const rollout::RunHooks& hooks) {
  Round round;
  round.prompts = s.prompts->next(num_prompts);
  std::vector<rollout::Request> requests;
  const int64_t group_size = s.config.train.samples_per_prompt;
  for (const Prompt& prompt : round.prompts)
    for (int64_t g = 0; g < group_size; ++g)
      requests.push_back(
          {.sample_id = sample_id(s, it.index, static_cast<size_t>(it.sampled) + requests.size()),
           .prompt = prompt.tokens,
           .name = prompt.problem.id});
  round.samples = generator.run(requests, hooks);
  std::vector<tasks::Answer> answers;
  for (size_t i = 0; i < round.samples.size(); ++i)
    answers.push_back({&round.prompts[i / static_cast<size_t>(group_size)].problem, &round.samples[i].text});
  const core::Stopwatch watch;
  round.verdicts = s.task->judge_all(answers);
  it.seconds["reward"] += watch.seconds();
  it.sampled += static_cast<int64_t>(round.samples.size());
  for (const tasks::Verdict& v : round.verdicts) it.sampled_right += v.correct;
  return round;
}

// Moves a round's prompts and answers into the iteration, with dynamic sampling only those whose answers'
// task rewards differ.
void keep_useful(const Session& s, Iteration& it, Round round) {
  const auto group_size = static_cast<size_t>(s.config.train.samples_per_prompt);
  for (size_t p = 0; p < round.prompts.size(); ++p) {
    const auto first = round.verdicts.begin() + static_cast<std::ptrdiff_t>(p * group_size);
    const auto last = first + static_cast<std::ptrdiff_t>(group_size);
    const auto [low, high] =
        std::minmax_element(first, last, [](const auto& a, const auto& b) { return a.reward < b.reward; });
    if (s.config.train.dynamic_sampling.enabled && high->reward - low->reward < 1e-12) {
      ++it.dropped_prompts;
      it.dropped_right += std::all_of(first, last, [](const tasks::Verdict& v) { return v.correct; });
      continue;
    }
    it.prompts.push_back(std::move(round.prompts[p]));
    for (size_t i = p * group_size; i < (p + 1) * group_size; ++i) {
      it.samples.push_back(std::move(round.samples[i]));
      it.verdicts.push_back(std::move(round.verdicts[i]));
    }
  }
}

at::Tensor credit_tensor(const Session& s, const Iteration& it) {
  if (!s.config.rhythm.enabled || s.config.rhythm.credit == rhythm::Credit::kNone) return {};
  at::Tensor gamma = at::ones({it.scored.num_tokens()}, at::kFloat);
  float* g = gamma.mutable_data_ptr<float>();
  const float* entropy = it.scored.entropy.const_data_ptr<float>();
  for (size_t i = 0; i < it.sequences.size(); ++i) {
    const rl::TrainSequence& sequence = it.sequences[i];
    const auto num_tokens = static_cast<int64_t>(sequence.tokens.size());
    rhythm::CreditInput input{
        .prompt_length = sequence.prompt_length,
        .num_tokens = num_tokens,
        .waad = it.rhythm[i].waad,
        .fai = it.rhythm[i].fai,
        .token_entropy = std::vector<double>(static_cast<size_t>(num_tokens), std::nan("")),
        .seed = static_cast<uint64_t>(s.config.seed),
        .sample_id = static_cast<uint64_t>(sequence.id)};
    for (int64_t t = 0; t < sequence.response_length(); ++t)
      input.token_entropy[static_cast<size_t>(sequence.prompt_length + t)] =
          entropy[it.scored.offsets[i] + t];
    const rhythm::CreditResult credit = rhythm::shape_credit(input, s.config.rhythm);
    for (size_t t = 0; t < credit.gamma.size(); ++t)
      g[it.scored.offsets[i] + static_cast<int64_t>(t)] = static_cast<float>(credit.gamma[t]);
  }
  return gamma;
}

}  // namespace

void run_rollout(Session& s, Iteration& it, const StageHooks& hooks) {
  const core::Stopwatch watch;
  rollout::GeneratorOptions options{.seed = static_cast<uint64_t>(s.config.seed),
                                    .stop_tokens = s.stop_tokens,
                                    .sampling = s.config.rollout};
  options.sampling.max_new_tokens = limit_of(s, it);
  for (const std::string& text : s.task->stop_strings()) options.sampling.stop_strings.push_back(text);
  rollout::Generator generator(*s.policy, *s.tokenizer, options);
  rollout::RunHooks run_hooks;
  run_hooks.should_stop = hooks.should_stop;
  if (hooks.progress)
    run_hooks.on_progress = [&](const rollout::Progress& p) {
      hooks.progress({"sampling", "answer", p.num_finished, p.num_requests});
    };
  const TrainConfig& c = s.config.train;
  for (;;) {
    const int64_t missing = c.prompts_per_iteration - static_cast<int64_t>(it.prompts.size());
    keep_useful(s, it, sample_round(s, it, generator, missing, run_hooks));
    if (static_cast<int64_t>(it.prompts.size()) == c.prompts_per_iteration) break;
    if (it.refills == c.dynamic_sampling.max_refills) break;
    ++it.refills;
  }
  for (size_t i = 0; i < it.samples.size(); ++i) {
    const rollout::Sample& sample = it.samples[i];
    it.task_rewards.push_back(it.verdicts[i].reward);
    rl::TrainSequence sequence{.id = sample.sample_id,
                               .group = static_cast<int64_t>(i) / c.samples_per_prompt,
                               .tokens = sample.prompt,
                               .prompt_length = static_cast<int64_t>(sample.prompt.size()),
                               .truncated = sample.finish == rollout::FinishReason::kLength,
                               .sampler_logprobs = sample.logprobs};
    sequence.tokens.insert(sequence.tokens.end(), sample.response.begin(), sample.response.end());
    it.sequences.push_back(std::move(sequence));
  }
  if (!it.sequences.empty())
    it.plan = rl::plan_update(it.sequences, s.config.rl.ppo, static_cast<uint64_t>(s.config.seed), it.index,
                              c.dynamic_sampling.enabled);
  it.seconds["gen"] = watch.seconds() - it.seconds["reward"];
}

void run_scoring(Session& s, Iteration& it, const StageHooks& hooks) {
  const core::Stopwatch watch;
  std::string phase = "scoring";
  rl::ScorerOptions options;
  options.temperature = s.config.rollout.temperature;
  options.progress = [&](int64_t done, int64_t total) {
    if (hooks.progress) hooks.progress({phase, "micro-batch", done, total});
    return !(hooks.should_stop && hooks.should_stop());
  };
  const rl::Scorer scorer(s.models(), options);
  const bool tapped = s.config.rhythm.enabled;
  double calibrate_seconds = 0, tap_seconds = 0;
  if (groups_are_due(s, it.index)) {
    phase = "calibrating";
    calibrate(s, it, scorer, hooks);
    phase = "scoring";
    calibrate_seconds = it.seconds["calibrate"] = watch.seconds();
  }
  stop_if_asked(hooks);
  if (tapped) it.rhythm.resize(it.sequences.size());
  auto visitor = [&](const rl::Capture& capture) {
    model::wait_for(s.device);  // the forward is not the tap's
    const core::Stopwatch tap_watch;
    std::vector<rhythm::SequenceText> texts;
    for (int64_t i : capture.sequences) {
      const rl::TrainSequence& sequence = capture.all[static_cast<size_t>(i)];
      texts.push_back(rhythm::text_of(*s.tokenizer, sequence.tokens, sequence.prompt_length));
    }
    auto measured =
        rhythm::measure(capture.layers, capture.batch.cu_seqlens, texts, s.state.groups, s.config.rhythm);
    for (size_t j = 0; j < measured.size(); ++j)
      it.rhythm[static_cast<size_t>(capture.sequences[j])] = std::move(measured[j]);
    tap_seconds += tap_watch.seconds();
  };
  it.scored =
      scorer.score(it.sequences, it.plan.scoring(), tapped ? s.tap_layers : std::vector<int64_t>{}, visitor);
  if (tapped) it.seconds["tap"] = tap_seconds;
  it.seconds["score"] = watch.seconds() - calibrate_seconds - tap_seconds;
}

void run_rhythm(Session& s, Iteration& it) {
  if (!s.config.rhythm.enabled) return;
  const core::Stopwatch watch;
  std::vector<rhythm::Outcome> outcomes;
  for (size_t i = 0; i < it.sequences.size(); ++i)
    outcomes.push_back({it.sequences[i].truncated, it.verdicts[i].correct});
  it.rhythm_rewards = rhythm::reward_batch(
      it.rhythm, outcomes, s.config.rhythm, s.state.moments, nullptr,
      {.seed = static_cast<uint64_t>(s.config.seed), .iteration = static_cast<uint64_t>(it.index)});
  for (const auto& [key, value] : rhythm::metrics_of(it.rhythm_rewards.sums)) it.metrics[key] = value;
  it.seconds["rhythm"] = watch.seconds();
}

void run_advantages(Session& s, Iteration& it) {
  const core::Stopwatch watch;
  const rl::RewardInput input{.sequences = it.sequences,
                              .scored = it.scored,
                              .task_reward = it.task_rewards,
                              .rhythm = payment_tensor(s, it),
                              .credit = credit_tensor(s, it)};
  it.advantages = rl::compute_advantages(input, s.config.rl, s.kl->value(), limit_of(s, it));
  it.metrics.insert(it.advantages.metrics.begin(), it.advantages.metrics.end());
  it.metrics["actor/kl_coef"] = s.kl->value();
  it.seconds["adv"] = watch.seconds();
}

bool run_update(Session& s, Iteration& it, const StageHooks& hooks) {
  const core::Stopwatch watch;
  s.update_progress = [&](int64_t done, int64_t total) {
    if (hooks.progress) hooks.progress({"updating", "optimizer step", done, total});
    return true;
  };
  s.update_should_stop = hooks.should_drop_update;
  const rl::UpdateResult result = s.updater->update({.sequences = it.sequences,
                                                     .scored = it.scored,
                                                     .advantages = it.advantages,
                                                     .plan = it.plan,
                                                     .iteration = it.index,
                                                     .kl_coefficient = s.kl->value()});
  s.update_progress = nullptr;
  s.update_should_stop = nullptr;
  if (result.interrupted) return false;
  PAN_CHECK(!result.bad, kGuard,
            std::to_string(s.config.train.max_bad_steps) +
                " optimizer steps in a row had a non-finite loss or gradient")
      .where("iteration " + std::to_string(it.index + 1))
      .pointer(result.first_bad)
      .expected("finite numbers")
      .got("infinity or NaN")
      .remedy("Lower optimizer.lr or optimizer.grad_clip, or compute in float32");
  it.metrics.insert(result.metrics.begin(), result.metrics.end());
  s.kl->update(it.advantages.kl, static_cast<int64_t>(it.sequences.size()));
  s.state.kl = core::dump_json(s.kl->state());
  it.metrics["timing_s/update_actor"] = result.actor_seconds;
  if (s.value_head) it.metrics["timing_s/update_critic"] = result.critic_seconds;
  it.seconds["update"] = watch.seconds();
  return true;
}

}  // namespace pan::train
