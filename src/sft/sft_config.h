// Options of supervised training.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/checkpoint_config.h"
#include "core/schema.h"
#include "eval/eval_config.h"
#include "rl/rl_config.h"
#include "tasks/tasks_config.h"
#include "tokenizer/tokenizer_config.h"
#include "train/train_config.h"

namespace pan::sft {

// A model made from nothing; used where hidden_size is not 0 (model.path then holds the tokenizer only).
struct InitConfig {
  std::string family = "llama";
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t max_positions = 1024;
  double rope_theta = 10000;
};

inline void describe(core::Fields& f, InitConfig& c) {
  f.choice<std::string>("family", c.family, {{"llama", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}},
                        "Architecture.");
  f.integer("hidden_size", c.hidden_size,
            {.min = 0, .doc = "0 = load model.path instead of making a model."});
  f.integer("intermediate_size", c.intermediate_size, {.min = 0, .doc = "Of the MLP."});
  f.integer("num_layers", c.num_layers, {.min = 0, .doc = "Decoder blocks."});
  f.integer("num_heads", c.num_heads, {.min = 0, .doc = "Query heads."});
  f.integer("num_kv_heads", c.num_kv_heads, {.min = 0, .doc = "Key heads; divides num_heads."});
  f.integer("max_positions", c.max_positions, {.min = 1, .unit = "token", .doc = "Longest sequence."});
  f.number("rope_theta", c.rope_theta, {.min = 1, .doc = "Base of the rotary embedding."});
}

struct SftOptions {
  int64_t steps = 1000;
  int64_t batch_size = 32;
  int64_t micro_batch_tokens = 4096;
  int64_t max_tokens = 0;
  train::OverlongPrompts overlong = train::OverlongPrompts::kSkip;
  int64_t max_bad_steps = 5;
  int64_t log_every = 10;
};

inline void describe(core::Fields& f, SftOptions& c) {
  f.integer("steps", c.steps, {.min = 1, .unit = "step", .doc = "Optimizer steps."});
  f.integer("batch_size", c.batch_size,
            {.min = 1, .unit = "sequence", .doc = "Prompt/answer pairs of one optimizer step."});
  f.integer(
      "micro_batch_tokens", c.micro_batch_tokens,
      {.min = 1, .unit = "token", .doc = "Tokens of one forward and backward pass. Memory and speed only."});
  f.integer("max_tokens", c.max_tokens,
            {.min = 0,
             .unit = "token",
             .doc = "Longest prompt + answer; 0 = 1024, or the model's context where that is shorter."});
  f.choice("overlong", c.overlong,
           {{"error", train::OverlongPrompts::kError}, {"skip", train::OverlongPrompts::kSkip}},
           "What to do with a longer pair: stop with an error, or skip and count it.");
  f.integer("max_bad_steps", c.max_bad_steps,
            {.min = 1,
             .unit = "step",
             .doc = "Steps in a row that may be skipped for a non-finite loss or gradient."});
  f.integer("log_every", c.log_every, {.min = 1, .unit = "step", .doc = "Steps between two log lines."});
}

struct SftConfig {
  int64_t seed = 1;
  int64_t threads = 0;
  train::ModelConfig model;
  InitConfig init;
  tokenizer::PromptConfig prompt;
  tasks::TaskConfig task;
  SftOptions sft;
  rl::OptimizerConfig optimizer = {.lr = 1e-5};
  eval::EvalConfig eval;
  int64_t eval_max_new_tokens = 256;
  checkpoint::CheckpointConfig checkpoint;
};

inline void describe(core::Fields& f, SftConfig& c) {
  f.integer("seed", c.seed, {.min = 0, .doc = "Decides every random number of the run."});
  f.integer("threads", c.threads,
            {.min = 0, .unit = "thread", .doc = "Processor threads; 0 = all that the process may use."});
  f.object("model", c.model, "The model to train.");
  f.object("init", c.init, "A model made from nothing instead.");
  f.object("prompt", c.prompt, "How a problem becomes a prompt.");
  f.object("task", c.task, "Where prompts and worked answers come from.");
  f.object("sft", c.sft, "Supervised training.");
  f.object("optimizer", c.optimizer, "AdamW.");
  f.object("eval", c.eval, "Evaluation during training; `every` counts steps.");
  f.integer("eval_max_new_tokens", c.eval_max_new_tokens,
            {.min = 1, .unit = "token", .doc = "Longest answer in an evaluation."});
  f.object("checkpoint", c.checkpoint, "Checkpoints; `every` counts steps.");
}

}  // namespace pan::sft
