#include "rhythm/reward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"
#include "core/rng.h"

namespace pan::rhythm {
namespace {

constexpr size_t kRight = 0, kWrong = 1;

double ratio(double sum, double count) {
  return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

// Pearson's correlation from sums; NaN for fewer than two values or a constant.
double correlation(double n, double x, double xx, double y, double yy, double xy) {
  const double vx = xx - x * x / n, vy = yy - y * y / n;
  if (n < 2 || !(vx > 1e-12 * xx) || !(vy > 1e-12 * yy)) return std::numeric_limits<double>::quiet_NaN();
  return std::clamp((xy - x * y / n) / std::sqrt(vx * vy), -1.0, 1.0);
}

// Members of RewardSums in the order of pack().
template <class Sums, class Visit>
void each_sum(Sums& s, const Visit& visit) {
  for (auto* x : {&s.num_sequences,
                  &s.num_steps,
                  &s.num_capped,
                  &s.num_repeated_steps,
                  &s.z_entropy,
                  &s.z_entropy_clipped,
                  &s.z_entropy_count,
                  &s.z_concentration,
                  &s.z_concentration_clipped,
                  &s.z_concentration_count,
                  &s.entropy_term,
                  &s.concentration_term,
                  &s.reward_right,
                  &s.num_right,
                  &s.reward_wrong,
                  &s.num_wrong,
                  &s.reward,
                  &s.reward_squared,
                  &s.steps_squared,
                  &s.reward_steps,
                  &s.length,
                  &s.length_squared,
                  &s.reward_length,
                  &s.repeated_8grams,
                  &s.repeated_8grams_count,
                  &s.waad,
                  &s.waad_count,
                  &s.fai,
                  &s.fai_count,
                  &s.paid})
    visit(*x);
  for (auto* pair : {&s.phase_entropy, &s.phase_entropy_count, &s.phase_concentration,
                     &s.phase_concentration_count, &s.entropy_by_answer, &s.entropy_by_answer_count,
                     &s.concentration_by_answer, &s.concentration_by_answer_count})
    for (auto& x : *pair) visit(x);
}

// One statistic of all steps of this rank, in order; what is missing is left out.
template <class Term>
std::vector<double> present(const std::vector<SequenceRhythm>& sequences, const Term& term, Form form) {
  std::vector<double> values;
  for (const SequenceRhythm& sequence : sequences) {
    for (const StepRhythm& step : sequence.steps) {
      const double x = term(step, form);
      if (!std::isnan(x)) values.push_back(x);
    }
  }
  return values;
}

void add_present(double x, double& sum, double& count) {
  if (std::isnan(x)) return;
  sum += x;
  count += 1;
}

void count_z(double term, double z, double clip, double& sum, double& clipped, double& count,
             double& term_sum) {
  if (std::isnan(term)) return;
  sum += z;
  clipped += std::abs(z) >= clip ? 1 : 0;
  count += 1;
  term_sum += term;
}

void count_step(const StepRhythm& step, const StepReward& r, const RhythmConfig& config, RewardSums& sums) {
  sums.num_steps += 1;
  sums.num_repeated_steps += step.repeated ? 1 : 0;
  count_z(entropy_term(step, config.form), r.z_entropy, config.z.clip, sums.z_entropy, sums.z_entropy_clipped,
          sums.z_entropy_count, sums.entropy_term);
  count_z(concentration_term(step, config.form), r.z_concentration, config.z.clip, sums.z_concentration,
          sums.z_concentration_clipped, sums.z_concentration_count, sums.concentration_term);
  for (const size_t phase : {kPreplan, kAnchor}) {
    add_present(step.preplan_entropy[phase], sums.phase_entropy[phase], sums.phase_entropy_count[phase]);
    add_present(step.anchor_concentration[phase], sums.phase_concentration[phase],
                sums.phase_concentration_count[phase]);
  }
}

// The terms of the steps as they were measured, whatever they were paid.
void count_terms(const SequenceRhythm& sequence, bool correct, Form form, RewardSums& sums) {
  const size_t answer = correct ? kRight : kWrong;
  for (const StepRhythm& step : sequence.steps) {
    add_present(entropy_term(step, form), sums.entropy_by_answer[answer],
                sums.entropy_by_answer_count[answer]);
    add_present(concentration_term(step, form), sums.concentration_by_answer[answer],
                sums.concentration_by_answer_count[answer]);
  }
}

void count_sequence(const SequenceRhythm& sequence, const SequenceReward& result, bool correct,
                    RewardSums& sums) {
  double x = 0;
  for (const StepReward& r : result.steps) x += r.reward;
  const auto k = static_cast<double>(sequence.steps.size());
  const auto length = static_cast<double>(sequence.response_length());
  sums.num_sequences += 1;
  sums.num_capped += result.capped ? 1 : 0;
  (correct ? sums.reward_right : sums.reward_wrong) += x;
  (correct ? sums.num_right : sums.num_wrong) += 1;
  sums.reward += x;
  sums.reward_squared += x * x;
  sums.steps_squared += k * k;
  sums.reward_steps += x * k;
  sums.length += length;
  sums.length_squared += length * length;
  sums.reward_length += x * length;
  add_present(sequence.repeated_8grams, sums.repeated_8grams, sums.repeated_8grams_count);
  for (int64_t t = sequence.prompt_length; t < sequence.num_tokens; ++t) {
    add_present(sequence.waad[static_cast<size_t>(t)], sums.waad, sums.waad_count);
    add_present(sequence.fai[static_cast<size_t>(t)], sums.fai, sums.fai_count);
  }
  sums.paid += result.total;
}

}  // namespace

std::vector<double> RewardSums::pack() const {
  std::vector<double> values;
  each_sum(*this, [&](const double& x) { values.push_back(x); });
  return values;
}

RewardSums RewardSums::unpack(const std::vector<double>& values) {
  RewardSums sums;
  PAN_CHECK(values.size() == sums.pack().size(), kInternal, "packed rhythm sums have another length")
      .where("rhythm::RewardSums")
      .got(std::to_string(values.size()));
  size_t i = 0;
  each_sum(sums, [&](double& x) { x = values[i++]; });
  return sums;
}

RewardSums& RewardSums::operator+=(const RewardSums& other) {
  const std::vector<double> values = other.pack();
  size_t i = 0;
  each_sum(*this, [&](double& x) { x += values[i++]; });
  return *this;
}

std::vector<std::pair<std::string, double>> metrics_of(const RewardSums& s) {
  const double n = s.num_sequences;
  return {
      {"rhythm/reward/mean", ratio(s.reward, n)},
      {"rhythm/reward/right", ratio(s.reward_right, s.num_right)},
      {"rhythm/reward/wrong", ratio(s.reward_wrong, s.num_wrong)},
      {"rhythm/reward/corr_steps",
       correlation(n, s.reward, s.reward_squared, s.num_steps, s.steps_squared, s.reward_steps)},
      {"rhythm/reward/corr_length",
       correlation(n, s.reward, s.reward_squared, s.length, s.length_squared, s.reward_length)},
      {"rhythm/paid/mean", ratio(s.paid, n)},
      {"rhythm/capped_share", ratio(s.num_capped, n)},
      {"rhythm/steps/mean", ratio(s.num_steps, n)},
      {"rhythm/steps/repeated_share", ratio(s.num_repeated_steps, s.num_steps)},
      {"rhythm/repeated_8grams", ratio(s.repeated_8grams, s.repeated_8grams_count)},
      {"rhythm/z_entropy/mean", ratio(s.z_entropy, s.z_entropy_count)},
      {"rhythm/z_entropy/clip_share", ratio(s.z_entropy_clipped, s.z_entropy_count)},
      {"rhythm/z_concentration/mean", ratio(s.z_concentration, s.z_concentration_count)},
      {"rhythm/z_concentration/clip_share", ratio(s.z_concentration_clipped, s.z_concentration_count)},
      {"rhythm/entropy_term/mean", ratio(s.entropy_term, s.z_entropy_count)},
      {"rhythm/concentration_term/mean", ratio(s.concentration_term, s.z_concentration_count)},
      {"rhythm/entropy_term/right", ratio(s.entropy_by_answer[kRight], s.entropy_by_answer_count[kRight])},
      {"rhythm/entropy_term/wrong", ratio(s.entropy_by_answer[kWrong], s.entropy_by_answer_count[kWrong])},
      {"rhythm/concentration_term/right",
       ratio(s.concentration_by_answer[kRight], s.concentration_by_answer_count[kRight])},
      {"rhythm/concentration_term/wrong",
       ratio(s.concentration_by_answer[kWrong], s.concentration_by_answer_count[kWrong])},
      {"rhythm/preplan_entropy/preplan", ratio(s.phase_entropy[kPreplan], s.phase_entropy_count[kPreplan])},
      {"rhythm/preplan_entropy/anchor", ratio(s.phase_entropy[kAnchor], s.phase_entropy_count[kAnchor])},
      {"rhythm/anchor_concentration/preplan",
       ratio(s.phase_concentration[kPreplan], s.phase_concentration_count[kPreplan])},
      {"rhythm/anchor_concentration/anchor",
       ratio(s.phase_concentration[kAnchor], s.phase_concentration_count[kAnchor])},
      {"rhythm/waad_mean", ratio(s.waad, s.waad_count)},
      {"rhythm/fai_mean", ratio(s.fai, s.fai_count)},
  };
}

void shuffle_rewards(const ShuffleKey& key, std::vector<SequenceReward>& sequences) {
  std::vector<StepReward> rewards;
  for (const SequenceReward& s : sequences) rewards.insert(rewards.end(), s.steps.begin(), s.steps.end());
  core::rng::Stream stream({key.seed, core::rng::Purpose::kControl, key.iteration, key.rank});
  // Sattolo 1986: one cycle through all of them, so that none stays where it was.
  for (size_t i = rewards.size(); i > 1; --i) std::swap(rewards[i - 1], rewards[stream.below(i - 1)]);
  auto next = rewards.begin();
  for (SequenceReward& s : sequences)
    for (StepReward& step : s.steps) step = *next++;
}

void pay(const SequenceRhythm& sequence, bool truncated, const RhythmConfig& config, SequenceReward& reward) {
  reward.payments.clear();
  reward.total = 0;
  reward.capped = false;
  for (StepReward& step : reward.steps) step.paid = 0;
  if (config.lambda == 0) return;
  double sum = 0;  // c_j
  const auto pay_one = [&](int64_t position, double x) {
    const double wanted = sum + config.lambda * x;
    const double next = config.cap ? std::clamp(wanted, -*config.cap, *config.cap) : wanted;
    reward.capped = reward.capped || next != wanted;
    reward.payments.push_back({.position = position, .amount = next - sum});
    sum = next;
  };
  for (size_t k = 0; k < sequence.steps.size(); ++k) {
    const Step& step = sequence.steps[k].step;
    StepReward& r = reward.steps[k];
    const double before = sum;
    // The rule for repeated steps takes a positive sum away as a whole, and leaves a negative one as it is.
    const double pre = config.w_pre * r.z_entropy, anc = config.w_anc * r.z_concentration;
    const bool forfeited = pre + anc > 0 && r.reward <= 0;
    if (config.form == Form::kContrast) {
      pay_one(step.end, r.reward);
    } else {
      pay_one(step.preplan_end, forfeited ? 0 : pre);
      pay_one(step.end, forfeited ? 0 : anc);
    }
    r.paid = sum - before;
  }
  if (truncated && sum > 0) {
    reward.payments.push_back({.position = sequence.num_tokens - 1, .amount = -sum});
    sum = 0;
  }
  reward.total = sum;
}

RewardResult reward_batch(const std::vector<SequenceRhythm>& sequences, const std::vector<Outcome>& outcomes,
                          const RhythmConfig& config, RhythmMoments& moments, const GatherValues& gather,
                          const ShuffleKey& shuffle) {
  PAN_CHECK(sequences.size() == outcomes.size(), kInternal, "one outcome a sequence is needed")
      .where("rhythm::reward_batch");
  RewardResult result;
  result.sequences.resize(sequences.size());
  if (!config.enabled) return result;
  const auto over_ranks = [&](const auto& term) {
    const std::vector<double> own = present(sequences, term, config.form);
    return batch_moments(gather ? gather(own) : own);
  };
  result.entropy_batch = over_ranks(entropy_term);
  result.concentration_batch = over_ranks(concentration_term);
  moments.entropy.update(result.entropy_batch, config.z.decay);
  moments.concentration.update(result.concentration_batch, config.z.decay);
  const double sigma_e = moments.entropy.sigma(), sigma_c = moments.concentration.sigma();
  for (size_t i = 0; i < sequences.size(); ++i) {
    SequenceReward& r = result.sequences[i];
    for (const StepRhythm& step : sequences[i].steps) {
      StepReward s;
      s.z_entropy = standardise(entropy_term(step, config.form), result.entropy_batch, sigma_e, config.z);
      s.z_concentration =
          standardise(concentration_term(step, config.form), result.concentration_batch, sigma_c, config.z);
      s.reward = config.w_pre * s.z_entropy + config.w_anc * s.z_concentration;
      if (step.repeated) s.reward = std::min(s.reward, 0.0);
      count_step(step, s, config, result.sums);
      r.steps.push_back(s);
    }
  }
  if (config.control == Control::kShuffled) shuffle_rewards(shuffle, result.sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    pay(sequences[i], outcomes[i].truncated, config, result.sequences[i]);
    count_sequence(sequences[i], result.sequences[i], outcomes[i].correct, result.sums);
    count_terms(sequences[i], outcomes[i].correct, config.form, result.sums);
  }
  return result;
}

}  // namespace pan::rhythm
