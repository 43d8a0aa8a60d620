// The update of one iteration: PPO epochs over minibatches over micro-batches, critic and policy.
//
//   rl::Updater updater(models, config, {.temperature = 1.0, .total_steps = steps});
//   rl::UpdateResult r = updater.update({sequences, scored, advantages, plan, iteration, kl.value()});
//
// Separate critic: all its epochs first, then the policy's, each with its own optimizer. Shared trunk: one
// loss pg + critic.coefficient * vf, one optimizer over trunk and head.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "dist/group.h"
#include "rl/advantage.h"
#include "rl/optimizer.h"
#include "rl/plan.h"
#include "rl/rl_config.h"
#include "rl/scorer.h"
#include "rl/sequence.h"

namespace pan::rl {

struct UpdateInput {
  const std::vector<TrainSequence>& sequences;
  const ScoredBatch& scored;
  const Advantages& advantages;
  const UpdatePlan& plan;
  int64_t iteration = 0;      // from 0; below critic.warmup_iterations the policy is left alone
  double kl_coefficient = 0;  // of the KL term in the loss
};

struct UpdateOptions {
  double temperature = 1.0;
  int64_t total_steps = 0;          // length of the policy's schedule: the steps it takes in the whole run
  int64_t critic_total_steps = 0;   // the same of the critic, critic.warmup_iterations included
  int64_t max_response_tokens = 0;  // constant of seq-mean-token-sum-norm
  int64_t max_bad_steps = 5;        // skipped optimizer steps in a row that end the update
  // Called before each optimizer step with (done, total); false interrupts.
  std::function<bool(int64_t done, int64_t total)> progress;
  // Asked before each micro-batch with the share of the update that is done; true interrupts. For large
  // models one optimizer step may take minutes.
  std::function<bool(double share)> should_stop;
};

struct UpdateResult {
  Metrics metrics;  // actor/*, critic/*: token-weighted over everything the update trained on
  bool interrupted =
      false;         // by progress: the weights are half-way through an update, do not checkpoint them
  bool bad = false;  // max_bad_steps skipped steps in a row
  double actor_seconds = 0, critic_seconds = 0;  // a shared trunk's steps count as the actor's
  std::string first_bad;                         // the first non-finite tensor seen, "" if none
};

class Updater {
 public:
  Updater(const Models& models, const RlConfig& config, const UpdateOptions& options,
          dist::Group& group = dist::single_process());

  UpdateResult update(const UpdateInput& input);

  Optimizer& policy_optimizer() { return *policy_; }
  Optimizer* critic_optimizer() { return critic_.get(); }  // null without a separate critic

 private:
  Models models_;
  RlConfig config_;
  UpdateOptions options_;
  dist::Group* group_;
  std::unique_ptr<Optimizer> policy_, critic_;
};

}  // namespace pan::rl
