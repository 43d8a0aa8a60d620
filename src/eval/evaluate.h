// Runs a task on a model: every problem of the evaluation split (or the first n), one or several answers
// each, judged and summarised with intervals.
//
//   eval::Evaluation e = eval::evaluate({.decoder = *d, .tokenizer = *t, .task = *task, .encode = encode,
//   ...}); eval::write_evaluation(folder, e);       // results.json, samples.jsonl
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "eval/eval_config.h"
#include "model/decoder.h"
#include "pan/task.h"
#include "pan/tokenizer.h"
#include "rollout/generate.h"

namespace pan::eval {

struct EvalRequest {
  const model::Decoder& decoder;
  const tokenizer::Tokenizer& tokenizer;
  const tasks::Task& task;
  std::function<std::vector<int64_t>(const tasks::Problem&)> encode;  // chat template applied
  std::vector<int64_t> stop_tokens;
  EvalConfig config;
  int64_t default_max_new_tokens = 256;        // used where config.max_new_tokens = 0
  std::vector<std::string> stop_strings = {};  // besides the task's
  uint64_t seed = 0;
  std::string description = "{}";  // JSON object, written into results.json: model, config, versions
  std::function<void(int64_t done, int64_t total)> progress = {};
  std::function<bool()> should_stop = {};
};

struct Interval {
  double value = 0, low = 0, high = 0;  // 95 %
  std::string method;                   // "wilson", "bootstrap over items"
};

struct Evaluation {
  // Keys: accuracy (pass@1; with k samples the mean over items of the share that is right, avg@k), maj@k,
  // pass@k, no_answer_rate, truncated_rate, response_length/mean, every term of the verdicts; where answers
  // have cells, cell_accuracy: right cells / all cells over all answers, those that could not be read or
  // asked for included. By group as well: "accuracy/3x3", "cell_accuracy/3x3", "no_answer_rate/3x3".
  std::map<std::string, double> metrics;
  std::map<std::string, Interval> intervals;
  std::vector<std::string> groups;  // sorted
  int64_t num_problems = 0, num_samples = 0, num_overlong_prompts = 0;
  double seconds = 0, tokens_per_s = 0;
  std::vector<std::string> rows;  // JSON lines, one per answer, in order of problems
  std::string results;            // JSON text of results.json
};

// A prompt that leaves no room in the context is an item that was not answered; a warning says how many.
// Errors: kData: an empty split, no prompt that fits; kInterrupted.
Evaluation evaluate(const EvalRequest& request);

// Makes the folder and tries to write into it, so that hours of answers are not lost to a wrong name. Error:
// kIo.
void make_output_folder(const std::string& folder);

// results.json and samples.jsonl, each written atomically. Makes the folder.
void write_evaluation(const std::string& folder, const Evaluation& evaluation);

// A few readable lines for the terminal.
std::vector<std::string> evaluation_lines(const Evaluation& evaluation);

}  // namespace pan::eval
