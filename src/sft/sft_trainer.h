// Supervised training on prompt/answer pairs: a small model learns the answer format before it can earn a
// reward.
//
//   sft::SftOutcome o = sft::train({.config = config, .run_dir = "runs/warm"});
//
// Loss: mean negative log-likelihood of the answer's tokens (the end of turn included) over all answers of a
// step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/places.h"
#include "core/json.h"
#include "sft/sft_config.h"

namespace pan::sft {

struct SftRequest {
  SftConfig config;
  std::string run_dir;
  bool resume = false;        // go on from the newest complete checkpoint of run_dir
  bool allow_change = false;  // resume with settings that change what is computed
};

struct SftOutcome {
  int64_t steps = 0;
  double final_loss = 0;  // nat per token, of the last step
  bool stopped = false;   // by a signal; resumable
};

// Errors: those of the parts; kConfig where a resume has settings that compute something else and
// allow_change is not set; kGuard after a checkpoint of the weights as they are.
SftOutcome train(const SftRequest& request);

// Every key with its present value.
core::Json resolved(const SftConfig& config);

// "/sft/batch_size: 32 -> 16" for each key that differs and matters, as config::differences.
std::vector<std::string> differences(const SftConfig& before, const SftConfig& after);

// The keys of a supervised run's configuration that a training run has too: what an evaluation of it needs.
core::Json as_run_config(const core::Json& sft_config);

// As config::Loaded.
struct LoadedSft {
  SftConfig config;
  std::vector<std::string> notes;  // settings without effect
  config::Places places;

  void add_places(core::Error& error) const;
};

// Strict reading of an sft configuration file with `--set` overrides; checks what a training run checks of
// the settings that both have, and the pairs that exclude each other. Errors: kConfig.
LoadedSft load_sft(const std::string& path, const std::vector<std::string>& overrides);

}  // namespace pan::sft
