// Settings of the built-in tasks. In a run configuration they sit flat beside the name:
//
//   "task": {"name": "logic_grid", "sizes": ["2x3", "3x3:2"], "prompt_style": "compact", "answer_style":
//   "lines"}
//
// The fields that `describe` shows for a TaskConfig are those of the task that is named.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::tasks {

// How a model is asked: for the answer alone, or for the way to it as well. kGiven: the prompt of the data as
// it stands.
enum class Prompting { kGiven, kDirect, kCot };

// Solved examples in front of every question; `describe` puts the keys beside the task's own.
struct FewShotConfig {
  int64_t few_shot = 0;
  int64_t few_shot_seed = 1;
};
void describe(core::Fields& f, FewShotConfig& c);

struct Gsm8kConfig {
  std::string path = "data/gsm8k";
  std::string train_file = "train.jsonl";
  std::string eval_file = "test.jsonl";
  std::string prompt_prefix;
  std::string prompt_suffix =
      "Work it out step by step. End with a line that holds \"####\" and then the final answer as a number.";
  std::string direct_suffix =
      "Give the final answer alone, without any working, as one line: \"####\" and then the number.";
  Prompting prompting = Prompting::kCot;
  FewShotConfig few_shot;
  enum class Score { kStrict, kFlexible } score = Score::kStrict;
  double format_weight = 0;
};
void describe(core::Fields& f, Gsm8kConfig& c);

enum class PromptStyle { kFull, kCompact };
enum class AnswerStyle { kJson, kLines };

struct LogicGridConfig {
  int64_t seed = 1;
  std::vector<std::string> sizes = {"3x3"};  // "NxM" or "NxM:weight"
  std::vector<std::string> curriculum;       // "from: size size ...", see describe
  int64_t num_eval = 500;
  std::optional<int64_t> num_train;
  std::string path;  // ZebraLogic JSONL for the eval split
  PromptStyle prompt_style = PromptStyle::kFull;
  AnswerStyle answer_style = AnswerStyle::kJson;
  Prompting prompting = Prompting::kCot;
  FewShotConfig few_shot;
  int64_t attribute_pool = 12;
  int64_t value_pool = 8;
  bool direct_deduction = false;
  double worked_share = 1;
  double cell_weight = 0;
  double format_weight = 0;
};
void describe(core::Fields& f, LogicGridConfig& c);

struct JsonlConfig {
  std::string train_path;
  std::string eval_path;
  std::string prompt_field = "prompt";
  std::string answer_field = "answer";
  std::string worked_field = "response";
  std::string prompt_suffix;
  Prompting prompting = Prompting::kGiven;
  std::string cot_suffix = "Work it out step by step, then give the final answer.";
  std::string direct_suffix = "Give the final answer alone, without any working.";
  FewShotConfig few_shot;
  enum class Match { kExact, kNumeric, kRegex, kNone } match = Match::kExact;
  std::string pattern;
};
void describe(core::Fields& f, JsonlConfig& c);

// A reward from a program.
struct RewardConfig {
  std::string command;  // JSON text: null, a list of texts, or a text; command_of() reads it
  double timeout_s = 120;
  double task_weight = 0;
};
void describe(core::Fields& f, RewardConfig& c);
// The words of reward.command; empty where there is none. Error: kConfig for anything but null, a text (which
// a shell takes) or a list of texts.
std::vector<std::string> command_of(const RewardConfig& config);

// Several tasks in shares by weight.
struct MixConfig {
  std::string parts;  // JSON text: a list of objects; parts_of() reads it
  int64_t seed = 1;
};
void describe(core::Fields& f, MixConfig& c);

struct TaskConfig {
  std::string name = "logic_grid";
  Gsm8kConfig gsm8k;
  LogicGridConfig logic_grid;
  JsonlConfig jsonl;
  MixConfig mix;
};
void describe(core::Fields& f, TaskConfig& c);

// What describe() cannot say field by field, without opening a file: sizes, parts of a mix. Errors: kConfig.
void check(const TaskConfig& c);

struct MixPart {
  std::string label;  // in metrics and names of problems
  double weight = 1;
  TaskConfig config;
};
// Error: kConfig, with the pointer in the whole configuration ("/task/parts/1/sizes").
std::vector<MixPart> parts_of(const MixConfig& config);

}  // namespace pan::tasks
