// The configuration of a run: the modules' own structs as one tree.
//
//   config::RunConfig c = config::load_run("configs/quickstart.json", {"train.iterations=5"});
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_config.h"
#include "core/schema.h"
#include "eval/eval_config.h"
#include "rhythm/rhythm_config.h"
#include "rl/rl_config.h"
#include "rollout/rollout_config.h"
#include "tasks/tasks_config.h"
#include "tokenizer/tokenizer_config.h"
#include "train/train_config.h"

namespace pan::config {

struct RunConfig {
  int64_t seed = 1;
  int64_t threads = 0;
  train::ModelConfig model;
  tokenizer::PromptConfig prompt;
  tasks::TaskConfig task;
  tasks::RewardConfig reward;
  train::TrainConfig train;
  rollout::SamplingConfig rollout;
  rl::RlConfig rl;
  rhythm::RhythmConfig rhythm;
  eval::EvalConfig eval;
  checkpoint::CheckpointConfig checkpoint;

  int64_t sequences_per_iteration() const { return train.prompts_per_iteration * train.samples_per_prompt; }
  int64_t longest_sequence() const { return train.max_prompt_tokens + rollout.max_new_tokens; }
};
void describe(core::Fields& f, RunConfig& c);

// What describe() cannot say field by field: pairs that exclude each other, sizes that do not divide (with
// the arithmetic). Errors: kConfig with the JSON pointer. Returns one sentence per setting that has no effect
// in this run.
std::vector<std::string> check(const RunConfig& c);

// The arithmetic of one iteration, one line each: prompts x samples -> sequences -> minibatches -> optimizer
// steps.
std::vector<std::string> batch_arithmetic(const RunConfig& c);

}  // namespace pan::config
