// From the measured steps of an iteration to payments at tokens: docs/rhythm.md section 6.
//
//   RewardResult r = reward_batch(sequences, outcomes, config, moments);
//   for (const Payment& p : r.sequences[i].payments) token_rewards[i][p.position] += p.amount;
//
// Pure but for `moments`, which is updated first and then used. Evaluation and `score` do not call it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "rhythm/measure.h"
#include "rhythm/moments.h"
#include "rhythm/rhythm_config.h"

namespace pan::rhythm {

// What the task and the sampler said of an answer.
struct Outcome {
  bool truncated = false;  // cut off by the length limit
  bool correct = false;    // for the metrics only
};

struct Payment {
  int64_t position = 0;  // in the sequence, P <= position < N
  double amount = 0;     // lambda included
};

struct StepReward {
  double z_entropy = 0;        // z(E_k), 0 where missing
  double z_concentration = 0;  // z(C_k)
  double reward = 0;           // R_rhythm(k), after the rule for repeated steps, without lambda
  double paid = 0;             // its payments: lambda and cap applied
};

struct SequenceReward {
  std::vector<StepReward> steps;
  std::vector<Payment> payments;  // in token order; empty with lambda = 0; several may share a position
  double total = 0;               // sum of the payments
  bool capped = false;            // the cap changed a payment
};

// Sums over sequences and steps, so that ranks merge by adding; metrics_of() turns them into figures.
struct RewardSums {
  double num_sequences = 0, num_steps = 0, num_capped = 0, num_repeated_steps = 0;
  // z(E_k) and z(C_k) over the steps that have one: sum, how many were clipped, how many there are.
  double z_entropy = 0, z_entropy_clipped = 0, z_entropy_count = 0;
  double z_concentration = 0, z_concentration_clipped = 0, z_concentration_count = 0;
  double entropy_term = 0, concentration_term = 0;  // sums of E_k and C_k, same counts
  // The same sums over the steps of (right, wrong) answers.
  std::array<double, 2> entropy_by_answer{}, entropy_by_answer_count{};
  std::array<double, 2> concentration_by_answer{}, concentration_by_answer_count{};
  // The phases' own means (preplan, anchor) over the steps that have them.
  std::array<double, 2> phase_entropy{}, phase_entropy_count{};
  std::array<double, 2> phase_concentration{}, phase_concentration_count{};
  // x = sum_k R_rhythm(k) of an answer, without lambda and cap; by answer, and its products with K and
  // length.
  double reward_right = 0, num_right = 0, reward_wrong = 0, num_wrong = 0;
  double reward = 0, reward_squared = 0;
  double steps_squared = 0, reward_steps = 0;
  double length = 0, length_squared = 0, reward_length = 0;
  double repeated_8grams = 0, repeated_8grams_count = 0;
  double waad = 0, waad_count = 0, fai = 0, fai_count = 0;  // over response tokens where defined
  double paid = 0;                                          // sum of all payments

  // All members as plain numbers for an all-reduce, in a fixed order.
  std::vector<double> pack() const;
  static RewardSums unpack(const std::vector<double>& values);
  RewardSums& operator+=(const RewardSums& other);
};

// The figures that are always logged, under their metric names ("rhythm/z_entropy/mean", ...). NaN where
// undefined. docs/rhythm.md section 6 lists them.
std::vector<std::pair<std::string, double>> metrics_of(const RewardSums& sums);

struct RewardResult {
  std::vector<SequenceReward> sequences;
  BatchMoments entropy_batch, concentration_batch;  // over all ranks
  RewardSums sums;                                  // of this rank
};

// Takes this rank's values and returns those of all ranks in rank order (the same on every rank). Null = one
// process.
using GatherValues = std::function<std::vector<double>(const std::vector<double>&)>;

// With rhythm.control = shuffled: every step of `sequences` gets the StepReward of a step drawn from all of
// them without replacement, never its own: a uniform cycle. What is paid keeps its distribution and loses its
// link to the step. Pure: the cycle depends on the key and the number of steps. A single step keeps its own.
struct ShuffleKey {
  uint64_t seed = 0;       // of the run
  uint64_t iteration = 0;  // from 0
  uint64_t rank = 0;       // each rank shuffles the steps that it holds
};
void shuffle_rewards(const ShuffleKey& key, std::vector<SequenceReward>& sequences);

// sequences: all of this rank's, in the iteration's order; outcomes: one each. With enabled = false: no
// steps, no payments, moments untouched. With lambda = 0: everything but payments.
// `shuffle` is used with control = shuffled only; sums of z and terms are then of the steps themselves, those
// of rewards of what the steps got.
RewardResult reward_batch(const std::vector<SequenceRhythm>& sequences, const std::vector<Outcome>& outcomes,
                          const RhythmConfig& config, RhythmMoments& moments,
                          const GatherValues& gather = nullptr, const ShuffleKey& shuffle = {});

// The payments of one answer from its steps' z and R_rhythm(k): running sum, cap, pay-back. Fills payments,
// total, capped and what each step was paid; nothing with lambda = 0. What a cut-off answer pays back belongs
// to no step. Pure.
void pay(const SequenceRhythm& sequence, bool truncated, const RhythmConfig& config, SequenceReward& reward);

}  // namespace pan::rhythm
