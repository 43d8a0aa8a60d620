// The data of one iteration, growing along the arrows of docs/architecture: prompts -> samples -> verdicts ->
// scores -> rhythm -> advantages. Everything is a plain value.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "pan/task.h"
#include "rhythm/measure.h"
#include "rhythm/reward.h"
#include "rl/advantage.h"
#include "rl/plan.h"
#include "rl/scorer.h"
#include "rl/sequence.h"
#include "rollout/generate.h"
#include "train/prompts.h"

namespace pan::train {

struct Iteration {
  int64_t index = 0;  // from 0
  std::vector<Prompt> prompts;
  // One entry per sequence from here on, samples of a prompt side by side.
  std::vector<rollout::Sample> samples;
  std::vector<tasks::Verdict> verdicts;
  std::vector<double> task_rewards;
  std::vector<rl::TrainSequence> sequences;
  // Of dynamic sampling; sampled counts the answers of dropped prompts too.
  int64_t refills = 0, dropped_prompts = 0, dropped_right = 0;  // dropped_right: with every answer right
  int64_t sampled = 0, sampled_right = 0;
  rl::UpdatePlan plan;  // empty where no prompt was left: nothing to score or to learn
  rl::ScoredBatch scored;
  std::vector<rhythm::SequenceRhythm> rhythm;  // empty when rhythm is off
  rhythm::RewardResult rhythm_rewards;
  rl::Advantages advantages;

  rl::Metrics metrics;                    // by catalog key
  std::map<std::string, double> seconds;  // by phase: gen, reward, score, rhythm, adv, update
};

}  // namespace pan::train
