// Which sequences share a forward pass and an optimizer step. A pure function of lengths, sizes and (seed,
// iteration), made before scoring, so that the scorer runs the same micro-batches as the first epoch of the
// update: the first minibatch's probability ratio is then exactly 1.
//
//   rl::UpdatePlan plan = rl::plan_update(sequences, config.ppo, seed, iteration);
//   ScoredBatch scored = scorer.score(sequences, plan.scoring(), ...);
//   updater.update({sequences, scored, advantages, plan, ...});
#pragma once

#include <cstdint>
#include <vector>

#include "rl/rl_config.h"
#include "rl/sequence.h"

namespace pan::rl {

using MicroBatch = std::vector<int64_t>;    // indices of sequences, in the order they are packed
using Minibatch = std::vector<MicroBatch>;  // one optimizer step
using EpochPlan = std::vector<Minibatch>;

struct UpdatePlan {
  std::vector<EpochPlan> epochs;
  // The micro-batches of epoch 0, in order: every sequence exactly once.
  std::vector<MicroBatch> scoring() const;
  int64_t num_steps() const;  // optimizer steps if nothing stops early
};

// Cuts `order` into micro-batches: in order, each filled while its tokens (prompt + response) stay within
// `tokens`; a longer sequence gets one of its own. tokens >= 1.
Minibatch cut_micro_batches(const std::vector<TrainSequence>& sequences, const std::vector<int64_t>& order,
                            int64_t tokens);

// First `position` of the random streams of this module under Purpose::kShuffle: other users of that purpose
// (the order of prompts) stay below it, so that no two shuffles share numbers.
inline constexpr uint64_t kPlanStream = uint64_t{1} << 32;

// Epoch e shuffles all sequences by the stream (seed, kShuffle, iteration, kPlanStream + e) and cuts them
// into minibatches of ppo.minibatch_size. Errors: kConfig where the number of sequences is not a multiple of
// it (the arithmetic is shown), unless `partial`: then the last minibatch of an epoch may be smaller.
UpdatePlan plan_update(const std::vector<TrainSequence>& sequences, const PpoConfig& ppo, uint64_t seed,
                       int64_t iteration, bool partial = false);

}  // namespace pan::rl
