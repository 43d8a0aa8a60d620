// Options of the training loop.
#pragma once

#include <cstdint>
#include <string>

#include "core/schema.h"

namespace pan::train {

enum class OverlongPrompts { kError, kSkip };

struct TrainConfig {
  int64_t iterations = 100;
  int64_t prompts_per_iteration = 32;
  int64_t samples_per_prompt = 4;
  int64_t max_prompt_tokens = 1024;
  OverlongPrompts overlong_prompts = OverlongPrompts::kError;
  int64_t max_bad_steps = 5;
  double time_limit_s = 0;
  int64_t show_sample_every = 10;
  int64_t early_stop_evals = 0;
  bool tensorboard = true;
};
void describe(core::Fields& f, TrainConfig& c);

struct ModelConfig {
  std::string path;
  std::string dtype = "float32";
  std::string device = "auto";
  std::string export_dtype = "auto";
};
void describe(core::Fields& f, ModelConfig& c);

}  // namespace pan::train
