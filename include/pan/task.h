// A task gives prompts and judges answers.
//
//   auto task = pan::tasks::make("gsm8k", config_json);
//   pan::tasks::Problem p = task->problem(Split::kTrain, 17);
//   pan::tasks::Verdict v = task->judge(p, answer_text);
//
// To add one: a folder under src/tasks with a class, its settings and name in tasks_config.h and .cpp, its
// factory in registry.cpp (docs/tasks.md).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace pan::tasks {

enum class Split { kTrain, kEval };

struct Problem {
  std::string id;         // stable name, unique in the task
  std::string prompt;     // the user's turn, before any chat template
  std::string reference;  // the right answer in the task's own form (gold number, solution JSON)
  std::string group;      // bucket for reports ("3x3"); empty = none
  std::string answer;     // a full worked answer for supervised training; empty where there is none
  int64_t num_cells = 0;  // parts of the answer that are counted one by one (cells of a grid); 0 = none
};

struct Verdict {
  double reward = 0;        // what the task pays: the weighted sum of the terms that pay
  bool correct = false;     // headline accuracy
  bool answered = false;    // an answer could be read at all
  std::string extracted;    // the answer that was read, normalised (votes of maj@k)
  int64_t right_cells = 0;  // of the problem's num_cells
  std::map<std::string, double>
      terms;  // every score by name, whether it pays or not ("strict", "flexible", "cell", ...)
};

// One answer to be judged; neither pointer is kept.
struct Answer {
  const Problem* problem = nullptr;
  const std::string* text = nullptr;
};

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string name() const = 0;

  // Number of problems of a split; -1 = endless (generated). Index < size, or any index for an endless split.
  virtual int64_t size(Split split) const = 0;
  // Pure function of (task configuration, split, index): the same every time.
  virtual Problem problem(Split split, int64_t index) const = 0;

  // Never throws for any answer text, never hangs; malformed output is a wrong answer.
  virtual Verdict judge(const Problem& problem, const std::string& answer) const = 0;

  // A whole batch, one verdict for each answer, in order. What training and evaluation call: a reward from a
  // program (reward.command) is asked for once a batch, and only that may throw: kData, kInterrupted.
  virtual std::vector<Verdict> judge_all(const std::vector<Answer>& answers) const {
    std::vector<Verdict> verdicts;
    for (const Answer& a : answers) verdicts.push_back(judge(*a.problem, *a.text));
    return verdicts;
  }

  // Strings after which generation of an answer stops, besides end of text; may be empty.
  virtual std::vector<std::string> stop_strings() const { return {}; }
};

// `config`: the task's own object of the run configuration ({"name": "gsm8k", ...}); strict. Errors: kConfig
// for unknown names and bad settings, kData for missing or broken data files (with how to get them).
std::shared_ptr<const Task> make(const nlohmann::ordered_json& config);
std::vector<std::string> names();

}  // namespace pan::tasks
