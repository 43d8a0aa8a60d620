#include "tasks/tasks_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "tasks/names_config.h"

namespace pan::tasks {

void describe(core::Fields& f, FewShotConfig& c) {
  f.integer(
      "few_shot", c.few_shot,
      {.min = 0,
       .max = 64,
       .unit = "example",
       .doc = "Solved problems of the train split in front of every question, never the one that is asked; "
              "0 = none."});
  f.integer("few_shot_seed", c.few_shot_seed, {.min = 0, .doc = "Decides which problems are the examples."});
}

void describe(core::Fields& f, Gsm8kConfig& c) {
  f.text("path", c.path,
         {.doc = "Folder with the JSONL files of GSM8K (scripts/fetch_gsm8k.sh).", .is_path = true});
  f.text("train_file", c.train_file, {.doc = "File of the train split, inside path."});
  f.text("eval_file", c.eval_file, {.doc = "File of the eval split, inside path."});
  f.text("prompt_prefix", c.prompt_prefix, {.doc = "Text before the question; a space is put between."});
  f.choice("prompting", c.prompting, {{"cot", Prompting::kCot}, {"direct", Prompting::kDirect}},
           "cot: asks for the working and the answer, by prompt_suffix; direct: for the answer alone, by "
           "direct_suffix. Worked answers and examples follow it.");
  f.text("prompt_suffix", c.prompt_suffix,
         {.doc = "Text after the question where prompting is cot; a space is put between."});
  f.text("direct_suffix", c.direct_suffix, {.doc = "The same where prompting is direct."});
  describe(f, c.few_shot);
  f.choice(
      "score", c.score,
      {{"strict", Gsm8kConfig::Score::kStrict}, {"flexible", Gsm8kConfig::Score::kFlexible}},
      "Which score pays: strict reads the last '#### number', flexible the last number. Both are reported.");
  f.number("format_weight", c.format_weight,
           {.min = 0, .doc = "Paid when the last line is '#### number' and there is no other such mark."});
}

void describe(core::Fields& f, LogicGridConfig& c) {
  f.integer("seed", c.seed, {.min = 0, .doc = "Seed of the generator."});
  f.text_list(
      "sizes", c.sizes,
      {.doc = "Sizes as houses x attributes, 2..6 each, with an optional weight: \"3x3\", \"4x3:0.5\"."});
  f.text_list(
      "curriculum", c.curriculum,
      {.doc = "Stages of the train split, \"from: size size ...\": from that problem index on these sizes "
              "replace `sizes`. The first stage starts at 0. The eval split always has `sizes`."});
  f.integer("num_eval", c.num_eval,
            {.min = 1, .unit = "problem", .doc = "Size of the generated eval split."});
  f.optional_integer("num_train", c.num_train,
                     {.min = 1, .unit = "problem", .doc = "Size of the train split; null = endless."});
  f.text("path", c.path,
         {.doc = "ZebraLogic JSONL file that is the eval split; empty = eval puzzles are generated.",
          .is_path = true});
  f.choice(
      "prompt_style", c.prompt_style, {{"full", PromptStyle::kFull}, {"compact", PromptStyle::kCompact}},
      "full: ZebraLogic's conventions with an example; compact: a few short lines, for very small models.");
  f.choice("answer_style", c.answer_style, {{"json", AnswerStyle::kJson}, {"lines", AnswerStyle::kLines}},
           "json: ZebraLogic's answer object; lines: \"House 1: Name=Ann, Drink=tea\".");
  f.choice(
      "prompting", c.prompting, {{"cot", Prompting::kCot}, {"direct", Prompting::kDirect}},
      "cot: asks for deductions and then the solution; direct: for the solution alone. Worked answers and "
      "examples follow it.");
  describe(f, c.few_shot);
  f.integer(
      "attribute_pool", c.attribute_pool,
      {.min = 2, .max = 12, .doc = "Attributes that puzzles are drawn from; at least the largest size's."});
  f.integer(
      "value_pool", c.value_pool,
      {.min = 2, .max = 8, .doc = "Values per attribute that puzzles are drawn from; at least the houses."});
  f.boolean("direct_deduction", c.direct_deduction,
            "Only puzzles that are solved clue by clue, without supposing anything.");
  f.number("worked_share", c.worked_share,
           {.min = 0,
            .max = 1,
            .doc = "Share of the worked answers, for supervised training, that show their deductions; the "
                   "others give the "
                   "solution alone."});
  f.number("cell_weight", c.cell_weight, {.min = 0, .doc = "Paid times the share of right cells."});
  f.number("format_weight", c.format_weight,
           {.min = 0, .doc = "Paid when the answer names every house and attribute once and nothing else."});
}

void describe(core::Fields& f, JsonlConfig& c) {
  f.text("train_path", c.train_path, {.doc = "JSONL file of the train split.", .is_path = true});
  f.text("eval_path", c.eval_path, {.doc = "JSONL file of the eval split.", .is_path = true});
  f.text("prompt_field", c.prompt_field, {.doc = "Key of the prompt in a row."});
  f.text("answer_field", c.answer_field, {.doc = "Key of the right answer in a row."});
  f.text("worked_field", c.worked_field,
         {.doc = "Key of the full answer to train on; rows without it use the right answer."});
  f.text("prompt_suffix", c.prompt_suffix, {.doc = "Text after the prompt; a space is put between."});
  f.choice(
      "prompting", c.prompting,
      {{"given", Prompting::kGiven}, {"direct", Prompting::kDirect}, {"cot", Prompting::kCot}},
      "given: the prompt as the data has it; direct: with direct_suffix, for the answer alone; cot: with "
      "cot_suffix, for the working too. Answers to train on and examples follow it.");
  f.text("cot_suffix", c.cot_suffix,
         {.doc = "Text after prompt and prompt_suffix where prompting is cot; a space is put between."});
  f.text("direct_suffix", c.direct_suffix, {.doc = "The same where prompting is direct."});
  describe(f, c.few_shot);
  f.choice(
      "match", c.match,
      {{"exact", JsonlConfig::Match::kExact},
       {"numeric", JsonlConfig::Match::kNumeric},
       {"regex", JsonlConfig::Match::kRegex},
       {"none", JsonlConfig::Match::kNone}},
      "exact: the whole answer, trimmed; numeric: its last number; regex: what `pattern` finds last; none: "
      "only reward.command judges, and rows need no right answer.");
  f.text(
      "pattern", c.pattern,
      {.doc =
           "Regular expression (PCRE2) of match = regex; its first group, or the whole match, is compared."});
}

void describe(core::Fields& f, RewardConfig& c) {
  f.json_text("command", c.command,
              "A program that pays instead of the task: a list such as [\"python3\", \"reward.py\"], or a "
              "text, which "
              "`sh -c` runs. It reads and answers JSON lines (docs/tasks.md). null = the task pays.");
  f.number("timeout_s", c.timeout_s,
           {.min = 0, .exclusive_min = true, .unit = "s", .doc = "Longest time for one batch of answers."});
  f.number("task_weight", c.task_weight,
           {.min = 0, .doc = "Times the task's own reward, paid on top of the program's."});
}

std::vector<std::string> command_of(const RewardConfig& config) {
  if (config.command.empty()) return {};
  const core::Json json = core::parse_json(config.command, "reward.command");
  if (json.is_null()) return {};
  std::vector<std::string> words;
  bool good = json.is_string() || (json.is_array() && !json.empty());
  if (json.is_string()) words = {"sh", "-c", json.get<std::string>()};
  if (json.is_array())
    for (const core::Json& word : json) {
      good = good && word.is_string();
      if (word.is_string()) words.push_back(word.get<std::string>());
    }
  good = good && !words[0].empty() && !words.back().empty() &&
         std::none_of(words.begin(), words.end(),
                      [](const std::string& w) { return w.find('\0') != std::string::npos; });
  PAN_CHECK(good, kConfig, "this is no program")
      .pointer("/reward/command")
      .expected("null, a list of texts such as [\"python3\", \"reward.py\"], or a text for a shell")
      .got(config.command)
      .remedy("Give the program and its arguments as a list");
  return words;
}

void describe(core::Fields& f, MixConfig& c) {
  f.json_text(
      "parts", c.parts,
      "List of tasks, each an object with its name and settings and, beside them, weight (1; its share of "
      "the prompts is its weight over their sum) and label (its name; in metrics and names of problems).");
  f.integer("seed", c.seed, {.min = 0, .doc = "Decides the order of a part's problems in each epoch."});
}

namespace {

// One line a task: its name and where its settings are. registry.cpp has the factory of each.
struct TaskEntry {
  const char* name;
  void (*describe_own)(core::Fields& f, TaskConfig& c);
};
const TaskEntry kTasks[] = {
    {"gsm8k", [](core::Fields& f, TaskConfig& c) { describe(f, c.gsm8k); }},
    {"logic_grid", [](core::Fields& f, TaskConfig& c) { describe(f, c.logic_grid); }},
    {"jsonl", [](core::Fields& f, TaskConfig& c) { describe(f, c.jsonl); }},
    {"mix", [](core::Fields& f, TaskConfig& c) { describe(f, c.mix); }},
};

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const TaskEntry& task : kTasks) list.emplace_back(task.name);
    return list;
  }();
  return names;
}

void describe(core::Fields& f, TaskConfig& c) {
  f.choice_text(
      "name", task_names(), [&] { return c.name; }, [&](const std::string& chosen) { c.name = chosen; },
      "The task; the other keys depend on it.");
  for (const TaskEntry& task : kTasks)
    if (c.name == task.name) return task.describe_own(f, c);
}

namespace {

// "gsm8k, logic_grid or jsonl": what can be a part of a mix.
std::string part_names() {
  std::vector<std::string> parts;
  for (const std::string& name : task_names())
    if (name != "mix") parts.push_back(name);
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i)
    text += (i == 0 ? "" : i + 1 == parts.size() ? " or " : ", ") + parts[i];
  return text;
}

bool is_label(const std::string& label) {
  return !label.empty() && label.size() <= 40 && std::all_of(label.begin(), label.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

MixPart read_part(const core::Json& json, const std::string& pointer) {
  MixPart part;
  try {
    core::read_fields(
        [&](core::Fields& f) {
          f.text("label", part.label, {.doc = "Name of this part in metrics; empty = the task's name."});
          f.number("weight", part.weight,
                   {.min = 0, .exclusive_min = true, .doc = "Its share is this over the sum of all."});
          describe(f, part.config);
        },
        json, "");
  } catch (core::Error& error) {
    const std::string own = error.pointer_text();
    std::string remedy = error.remedy_text();
    const std::string explain = "config explain ";
    if (const size_t at = remedy.find(explain); at != std::string::npos)
      remedy.insert(at + explain.size(), "task/");
    throw error.pointer(own.rfind('/', 0) == 0 ? pointer + own : pointer).remedy(remedy);
  }
  if (part.label.empty()) part.label = part.config.name;
  return part;
}

}  // namespace

std::vector<MixPart> parts_of(const MixConfig& config) {
  const core::Json json = config.parts.empty() ? core::Json() : core::parse_json(config.parts, "task.parts");
  PAN_CHECK(json.is_array() && !json.empty(), kConfig, "a mix needs its tasks")
      .pointer("/task/parts")
      .expected("a list such as [{\"name\": \"gsm8k\", \"weight\": 2}, {\"name\": \"logic_grid\"}]")
      .got(json.is_null() ? "none" : json.dump().substr(0, 60))
      .remedy("Give one object for each task");
  std::vector<MixPart> parts;
  for (const core::Json& object : json) {
    const std::string pointer = "/task/parts/" + std::to_string(parts.size());
    MixPart part = read_part(object, pointer);
    PAN_CHECK(object.contains("name") && part.config.name != "mix", kConfig, "this is no part of a mix")
        .pointer(pointer + "/name")
        .expected(part_names())
        .got(object.contains("name") ? "mix" : "no name")
        .remedy("Name the task of each part; the parts of an inner mix can be parts of the outer one");
    PAN_CHECK(is_label(part.label), kConfig, "this cannot be the label of a part")
        .pointer(pointer + "/label")
        .expected("1 to 40 letters, digits, '_' and '-'")
        .got("\"" + part.label + "\"")
        .remedy("Choose another label");
    for (const MixPart& other : parts)
      PAN_CHECK(other.label != part.label, kConfig, "two parts of the mix have the same label")
          .pointer(pointer + "/label")
          .expected("labels that differ; without one it is the task's name")
          .got("\"" + part.label + "\" twice")
          .remedy("Give each of them a label");
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace pan::tasks
