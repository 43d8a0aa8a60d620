// Options of evaluation, in training and by `pan-ppo eval`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::eval {

struct EvalConfig {
  int64_t every = 0;
  bool at_start = true;
  int64_t num_problems = 0;
  int64_t samples = 1;
  double temperature = 0;
  double top_p = 1;
  int64_t top_k = 0;
  int64_t max_new_tokens = 0;
  int64_t slots = 32;
};

// Figures of every evaluation with these settings. There are also accuracy/SIZE and score/TERM, which depend
// on the task.
inline std::vector<std::string> metric_names(const EvalConfig& c) {
  std::vector<std::string> names = {"accuracy", "no_answer_rate", "truncated_rate", "response_length/mean"};
  if (c.samples > 1)
    for (const char* kind : {"avg@", "maj@", "pass@"}) names.push_back(kind + std::to_string(c.samples));
  return names;
}

inline void describe(core::Fields& f, EvalConfig& c) {
  f.integer("every", c.every,
            {.min = 0,
             .unit = "iteration",
             .doc = "Evaluates after every n-th iteration and after the last. 0 = never."});
  f.boolean("at_start", c.at_start,
            "Evaluates before the first iteration too (only where `every` is not 0).");
  f.integer(
      "num_problems", c.num_problems,
      {.min = 0,
       .unit = "problem",
       .doc = "The first n problems of the evaluation split; 0 = all of them (500 of a generated task)."});
  f.integer(
      "samples", c.samples,
      {.min = 1, .unit = "sequence", .doc = "Answers per problem; more than 1 needs a temperature above 0."});
  f.number("temperature", c.temperature, {.min = 0, .doc = "0 = greedy."});
  f.number("top_p", c.top_p,
           {.min = 0, .max = 1, .exclusive_min = true, .doc = "Nucleus sampling; 1 = off."});
  f.integer("top_k", c.top_k, {.min = 0, .unit = "token", .doc = "Only the k likeliest tokens; 0 = off."});
  f.integer("max_new_tokens", c.max_new_tokens,
            {.min = 0, .unit = "token", .doc = "Longest answer; 0 = that of rollout."});
  f.integer(
      "slots", c.slots,
      {.min = 1, .unit = "sequence", .doc = "Sequences generated at once. Changes speed and memory only."});
}

}  // namespace pan::eval
