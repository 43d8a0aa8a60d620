// Options of the training loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/schema.h"
#include "model/lora_config.h"

namespace pan::train {

enum class OverlongPrompts { kError, kSkip };

// Yu et al. 2025 (DAPO), section 3.2.
struct DynamicSamplingConfig {
  bool enabled = false;
  int64_t max_refills = 3;
};

struct TrainConfig {
  int64_t iterations = 100;
  int64_t prompts_per_iteration = 32;
  int64_t samples_per_prompt = 4;
  int64_t max_prompt_tokens = 1024;
  OverlongPrompts overlong_prompts = OverlongPrompts::kError;
  std::vector<std::string> length_curriculum;  // length_curriculum_config.h reads it
  int64_t max_bad_steps = 5;
  DynamicSamplingConfig dynamic_sampling;
  double time_limit_s = 0;
  int64_t show_sample_every = 10;
  int64_t early_stop_evals = 0;
  bool tensorboard = true;
  std::optional<double> peak_tflops;
};

struct ModelConfig {
  std::string path;
  std::string dtype = "float32";
  std::string device = "auto";
  std::string export_dtype = "auto";
  bool gradient_checkpointing = false;
  model::LoraConfig lora;
};

inline void describe(core::Fields& f, DynamicSamplingConfig& c) {
  f.boolean("enabled", c.enabled,
            "Drops prompts whose answers all earned the same task reward and draws others in their place.");
  f.integer(
      "max_refills", c.max_refills,
      {.min = 0,
       .doc = "Further rounds of sampling in one iteration, each with as many prompts as are missing; after "
              "that it trains on what there is."});
}

inline void describe(core::Fields& f, TrainConfig& c) {
  f.integer("iterations", c.iterations,
            {.min = 0,
             .unit = "iteration",
             .doc = "Iterations in all: rollout, scoring, update. A resumed run counts on."});
  f.integer("prompts_per_iteration", c.prompts_per_iteration,
            {.min = 1, .unit = "prompt", .doc = "Prompts drawn in one iteration."});
  f.integer(
      "samples_per_prompt", c.samples_per_prompt,
      {.min = 1,
       .unit = "sequence",
       .doc = "Answers sampled for each prompt. prompts_per_iteration x samples_per_prompt sequences make an "
              "iteration; grpo and rloo compare the answers of one prompt and need at least 2."});
  f.integer("max_prompt_tokens", c.max_prompt_tokens,
            {.min = 1, .unit = "token", .doc = "Longest prompt, chat template included."});
  f.choice(
      "overlong_prompts", c.overlong_prompts,
      {{"error", OverlongPrompts::kError}, {"skip", OverlongPrompts::kSkip}},
      "What to do with a prompt longer than max_prompt_tokens: stop with an error, or skip and count it.");
  f.text_list(
      "length_curriculum", c.length_curriculum,
      {.doc = "Longest response by iteration, \"iteration: tokens\" for each stage, the first from 0: "
              "[\"0: 128\", \"50: 256\"]. At most rollout.max_new_tokens, which holds where the list is "
              "empty and in evaluations."});
  f.object("dynamic_sampling", c.dynamic_sampling, "Prompts that teach nothing are replaced.");
  f.integer("max_bad_steps", c.max_bad_steps,
            {.min = 1,
             .unit = "step",
             .doc = "Optimizer steps in a row that may be skipped for a non-finite loss or gradient before "
                    "the run stops."});
  f.number("time_limit_s", c.time_limit_s,
           {.min = 0,
            .unit = "s",
            .doc = "Ends the run with a checkpoint before an iteration that would not fit. 0 = no limit. "
                   "Also --time-limit 55m."});
  f.integer("show_sample_every", c.show_sample_every,
            {.min = 0, .unit = "iteration", .doc = "Prints one sampled answer with its rewards. 0 = never."});
  f.integer(
      "early_stop_evals", c.early_stop_evals,
      {.min = 0,
       .unit = "evaluation",
       .doc =
           "Stops after this many evaluations in a row without a new best of checkpoint.metric. 0 = never."});
  f.optional_number(
      "peak_tflops", c.peak_tflops,
      {.min = 0,
       .exclusive_min = true,
       .unit = "TFLOP/s",
       .doc = "What the device can do at most in model.dtype, for the utilisation perf/mfu/*. null = "
              "measured at the start with a matrix product."});
  f.boolean("tensorboard", c.tensorboard, "Writes TensorBoard event files into the run folder.");
}

inline void describe(core::Fields& f, ModelConfig& c) {
  f.text(
      "path", c.path,
      {.doc = "Hugging Face folder of the policy (config.json, safetensors, tokenizer).", .is_path = true});
  std::vector<std::pair<std::string, std::string>> dtypes = {{"float32", "float32"},
                                                             {"bfloat16", "bfloat16"}};
  f.choice(
      "dtype", c.dtype, dtypes,
      "Compute type of forward and backward. Masters, losses, softmax and statistics are float32 in both.");
  f.choice<std::string>("device", c.device, {{"auto", "auto"}, {"cpu", "cpu"}, {"cuda", "cuda"}},
                        "auto takes the GPU where the build and the machine have one.");
  f.choice<std::string>(
      "export_dtype", c.export_dtype, {{"auto", "auto"}, {"float32", "float32"}, {"bfloat16", "bfloat16"}},
      "Type of the weights in a checkpoint's Hugging Face folders; auto: the compute type.");
  f.boolean("gradient_checkpointing", c.gradient_checkpointing,
            "Keep only the input of each block in the update and compute the block again for its gradient: "
            "the same numbers, much less memory, about a third more time in the update.");
  f.object("lora", c.lora, "Low-rank adapters (LoRA).");
}

}  // namespace pan::train
