// Solved examples of the train split in front of a question.
//
//   FewShot few_shot(config, "gsm8k");
//   std::vector<Example> shown = few_shot.pick(size(Split::kTrain), row.question, example_at);
//   p.prompt = few_shot_prompt(instructions, shown, row.question);
//
// Every question of a task has the same examples in front, in the same order: those that a shuffle with
// few_shot_seed puts first. Only a question that is itself among them gets the next one in its place.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tasks/tasks_config.h"

namespace pan::tasks {

struct Example {
  std::string question;  // as the prompt shows it, without instructions
  std::string answer;    // worked, or bare, as the style of prompting asks for
};

// What ends an answer that goes on with a question of its own; a stop string wherever examples are shown.
inline constexpr const char* kNextQuestion = "\nQuestion:";

class FewShot {
 public:
  FewShot(const FewShotConfig& config, std::string task) : config_(config), task_(std::move(task)) {}

  bool on() const { return config_.few_shot > 0; }

  // `size` of the train split, -1 = endless (then the first million count); `at` gives the example of an
  // index of it. No example has the text of `asked`, no two are the same. Thread-safe. Error: kConfig where
  // the split has too few different questions.
  std::vector<Example> pick(int64_t size, const std::string& asked,
                            const std::function<Example(int64_t)>& at) const;

 private:
  bool draw_next(int64_t size, const std::function<Example(int64_t)>& at) const;

  FewShotConfig config_;
  std::string task_;
  mutable std::mutex mutex_;
  mutable std::vector<int64_t> order_;  // of a finite split
  mutable uint64_t drawn_ = 0;
  mutable std::vector<Example> pool_;  // in the order of the shuffle, grown when needed
};

// The instructions once, then "Question: ...\nAnswer: ..." for each example, a blank line between, and the
// question with "Answer:" left open.
std::string few_shot_prompt(const std::string& instructions, const std::vector<Example>& examples,
                            const std::string& question);

}  // namespace pan::tasks
