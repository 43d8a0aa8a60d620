// Which problems an iteration asks: a position in an endless order of problems, and nothing else to remember.
//
//   PromptSource source(*task, encode, {.seed = 1, .max_prompt_tokens = 512});
//   std::vector<Prompt> batch = source.next(32);      // moves the position
//   source.set_position(saved);                       // resume
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pan/task.h"
#include "train/train_config.h"

namespace pan::train {

struct Prompt {
  tasks::Problem problem;
  std::vector<int64_t> tokens;  // with the chat template
};

using EncodePrompt = std::function<std::vector<int64_t>(const tasks::Problem&)>;

struct PromptOptions {
  uint64_t seed = 0;
  int64_t max_prompt_tokens = 1024;
  OverlongPrompts overlong = OverlongPrompts::kError;
};

class PromptSource {
 public:
  PromptSource(const tasks::Task& task, EncodePrompt encode, PromptOptions options);

  // The next n prompts of the training split. A finite split is read in epochs, each in its own order, a pure
  // function of (seed, epoch); an endless one in order of its index. Errors: kData: an empty split; a prompt
  // that is too long (overlong = error); a whole epoch of prompts that are too long.
  std::vector<Prompt> next(int64_t n);

  // Reads ahead from the position and leaves everything as it was: at least `at_least` prompts, then on for
  // `seconds`, at most one epoch and at most `at_most`. Returns how many were read. Errors: those of next().
  int64_t check(int64_t at_least, int64_t at_most, double seconds);

  int64_t position() const { return position_; }  // problems drawn so far, skipped ones included
  void set_position(int64_t position) { position_ = position; }
  int64_t num_skipped() const { return num_skipped_; }
  void set_num_skipped(int64_t n) { num_skipped_ = n; }

 private:
  int64_t index_at(int64_t position);

  const tasks::Task& task_;
  EncodePrompt encode_;
  PromptOptions options_;
  int64_t size_;
  int64_t position_ = 0;
  int64_t num_skipped_ = 0;
  int64_t epoch_ = -1;
  std::vector<int64_t> order_;
};

}  // namespace pan::train
