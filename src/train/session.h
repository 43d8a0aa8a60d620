// Everything a run holds in memory: configuration, tokenizer, task, models, and the small state that a
// checkpoint keeps.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "core/json.h"
#include "model/decoder.h"
#include "model/value_model.h"
#include "pan/task.h"
#include "pan/tokenizer.h"
#include "rhythm/head_groups.h"
#include "rhythm/moments.h"
#include "rl/kl.h"
#include "rl/scorer.h"
#include "rl/update.h"
#include "tokenizer/chat_template.h"
#include "train/hacking_guard.h"
#include "train/process.h"
#include "train/prompts.h"

namespace pan::train {

// What changes from iteration to iteration besides weights and optimizers; a few numbers, copied at each
// boundary so that an iteration that is dropped leaves no trace.
struct LoopState {
  int64_t iteration = 0;        // completed
  int64_t prompt_position = 0;  // of PromptSource
  int64_t prompts_skipped = 0;
  int64_t groups_iteration = -1;  // when the head groups were found; -1 = not yet
  rhythm::HeadGroups groups;
  rhythm::RhythmMoments moments;
  GuardState guard;
  std::string kl;  // state of rl::KlCoefficient as JSON text
  std::optional<double> best_metric;
  int64_t best_iteration = -1;
  int64_t evals_without_best = 0;
  int64_t last_eval_iteration = -1;

  core::Json to_json() const;
  static LoopState from_json(const core::Json& json, const std::string& source);
};

struct Session {
  config::RunConfig config;
  at::Device device = at::kCPU;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<const tokenizer::ChatTemplate> chat;
  std::vector<int64_t> stop_tokens;
  std::shared_ptr<const tasks::Task> task;

  std::unique_ptr<model::Decoder> policy, reference, critic;
  std::optional<model::ValueHead> value_head;
  std::vector<int64_t> tap_layers;
  std::unique_ptr<rl::KlCoefficient> kl;
  std::unique_ptr<rl::Updater> updater;
  std::function<bool(int64_t done, int64_t total)>
      update_progress;                                   // asked by the updater while it works; may be empty
  std::function<bool(double share)> update_should_stop;  // the same, before each micro-batch
  std::unique_ptr<PromptSource> prompts;
  LoopState state;
  double peak_flops = 0;  // of the device, 1/s
  // CRC-32C of the weights that the configuration names, by "model" and "critic" (critic.path where set).
  std::map<std::string, std::string> base_checksums;

  rl::Models models() const;
  EncodePrompt encoder() const;
};

// Opens tokenizer, task and models. `policy_folder` and `critic_folder` replace the configuration's paths (a
// checkpoint's); empty = the configuration's. With adapters (model.lora) the weights always come from the
// configuration's folders. Errors: those of the parts; kData where tokenizer and model
// disagree on the vocabulary.
struct OpenOptions {
  std::string policy_folder = {};
  std::string critic_folder = {};
  bool load_models = true;  // false: tokenizer, task and architecture only (dry run)
};
std::unique_ptr<Session> open_session(const config::RunConfig& config, const OpenOptions& options = {});

}  // namespace pan::train
