#include "tasks/jsonl/task.h"

#include <array>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "tasks/few_shot.h"
#include "tasks/jsonl/pattern.h"
#include "tasks/jsonl_rows.h"
#include "tasks/number_text.h"

namespace pan::tasks::jsonl {
namespace {

using Match = JsonlConfig::Match;
constexpr size_t kLongestVote = 200;  // of Verdict::extracted, in bytes

class Jsonl : public Task {
 public:
  explicit Jsonl(const JsonlConfig& config) : config_(config), few_shot_(config.few_shot, "jsonl") {
    PAN_CHECK(!config.train_path.empty() || !config.eval_path.empty(), kConfig,
              "the jsonl task has no data file")
        .pointer("/task/train_path")
        .expected("train_path, eval_path or both");
    const bool regex = config.match == Match::kRegex;
    PAN_CHECK(regex == !config.pattern.empty(), kConfig,
              regex ? "match is regex but there is no pattern" : "a pattern is given but match is not regex")
        .pointer("/task/pattern");
    if (regex) pattern_.emplace(config.pattern);
    PAN_CHECK(config.prompting != Prompting::kCot || config.match != Match::kExact, kConfig,
              "an exact match judges the whole answer, so one with its working is never right")
        .pointer("/task/prompting")
        .expected("given or direct, or task.match = numeric or regex")
        .got("cot with task.match = exact")
        .remedy("Set task.match to numeric or regex, or task.prompting to given or direct");
    PAN_CHECK(!few_shot_.on() || !config.train_path.empty(), kConfig,
              "examples come from the train split, which has no file")
        .pointer("/task/few_shot")
        .expected("task.train_path, or task.few_shot = 0")
        .got(std::to_string(config.few_shot.few_shot))
        .remedy("Give task.train_path");
  }

  std::string name() const override { return "jsonl"; }
  int64_t size(Split split) const override { return static_cast<int64_t>(rows(split).size()); }

  Problem problem(Split split, int64_t index) const override {
    const auto& all = rows(split);
    PAN_CHECK(index >= 0 && index < static_cast<int64_t>(all.size()), kInternal, "problem index out of range")
        .expected("below " + std::to_string(all.size()))
        .got(std::to_string(index));
    Problem p = all[static_cast<size_t>(index)];
    p.prompt = prompt_of(p.prompt);
    return p;
  }

  std::vector<std::string> stop_strings() const override {
    return few_shot_.on() ? std::vector<std::string>{kNextQuestion} : std::vector<std::string>();
  }

  Verdict judge(const Problem& problem, const std::string& answer) const override {
    const std::optional<std::string> read = answer_in(answer);
    Verdict v;
    v.answered = read.has_value();
    if (config_.match == Match::kNone) {
      if (read) v.extracted = read->substr(0, kLongestVote);
      v.terms = {{"no_answer", v.answered ? 0.0 : 1.0}};
      return v;
    }
    v.correct = read && *read == problem.reference;
    v.reward = v.correct ? 1 : 0;
    if (read) v.extracted = read->substr(0, kLongestVote);
    v.terms = {{"match", v.reward}, {"no_answer", v.answered ? 0.0 : 1.0}};
    return v;
  }

 private:
  std::string instructions() const {
    std::string out = config_.prompt_suffix;
    if (config_.prompting == Prompting::kGiven) return out;
    const std::string& more =
        config_.prompting == Prompting::kCot ? config_.cot_suffix : config_.direct_suffix;
    return out + (out.empty() || more.empty() ? "" : " ") + more;
  }

  std::string prompt_of(const std::string& question) const {
    const std::string suffix = instructions();
    if (!few_shot_.on()) return question + (suffix.empty() ? "" : " " + suffix);
    const std::vector<Problem>& train = rows(Split::kTrain);
    const auto at = [&](int64_t index) -> Example {
      const Problem& shown = train[static_cast<size_t>(index)];
      return {shown.prompt, shown.answer};
    };
    return few_shot_prompt(suffix, few_shot_.pick(static_cast<int64_t>(train.size()), question, at),
                           question);
  }

  // What a model is shown or trained on.
  std::string shown_answer(const core::Json& json, const std::string& answer, const std::string& reference,
                           const std::string& path, int64_t line) const {
    if (config_.prompting == Prompting::kDirect)
      return config_.match == Match::kNumeric ? reference : std::string(trimmed(answer));
    return json.contains(config_.worked_field) ? text_of(json, config_.worked_field, path, line) : answer;
  }

  std::optional<std::string> answer_in(const std::string& text) const {
    if (config_.match == Match::kRegex) return pattern_->find_last(text);
    if (config_.match == Match::kNumeric) {
      const auto hit = find_last_number(text);
      return hit ? std::optional(hit->value) : std::nullopt;
    }
    const std::string_view whole = trimmed(text);
    return whole.empty() ? std::nullopt : std::optional(std::string(whole));
  }

  Problem read_row(const core::Json& json, Split split, const std::string& path, int64_t line) const {
    Problem p;
    const std::string place = "line " + std::to_string(line);
    p.id = json.contains("id")
               ? text_of(json, "id", path, line)
               : "jsonl-" + std::string(split == Split::kTrain ? "train-" : "eval-") + std::to_string(line);
    p.prompt = text_of(json, config_.prompt_field, path, line);
    const bool bare = config_.match == Match::kNone && !json.contains(config_.answer_field);
    const std::string answer = bare ? "" : text_of(json, config_.answer_field, path, line);
    if (json.contains("group")) p.group = text_of(json, "group", path, line);
    // The right answer is read the way a response is, so that a full worked answer may stand in its place.
    // For a pattern it may also be the bare text that the pattern is to find.
    const auto read = answer_in(answer);
    PAN_CHECK(read || config_.match == Match::kRegex || config_.match == Match::kNone, kData,
              "a right answer cannot be read")
        .where(path)
        .pointer(place)
        .expected(config_.match == Match::kNumeric ? "text with a number" : "text")
        .got("\"" + answer.substr(0, 60) + "\"");
    p.reference = read ? *read : std::string(trimmed(answer));
    p.answer = shown_answer(json, answer, p.reference, path, line);
    return p;
  }

  // The problems with their prompts as the data has them.
  const std::vector<Problem>& rows(Split split) const {
    Part& part = parts_[split == Split::kTrain ? 0 : 1];
    std::call_once(part.once, [&] {
      const bool train = split == Split::kTrain;
      const std::string path = train ? config_.train_path : config_.eval_path;
      PAN_CHECK(!path.empty(), kConfig,
                train ? "the jsonl task has no train file" : "the jsonl task has no eval file")
          .pointer(train ? "/task/train_path" : "/task/eval_path")
          .expected("path of a JSONL file");
      std::vector<Problem> read;
      std::map<std::string, int64_t> lines;  // of each id
      read_jsonl(path, std::string("Check task.") + (train ? "train_path." : "eval_path."),
                 [&](const core::Json& json, int64_t line) {
                   read.push_back(read_row(json, split, path, line));
                   const auto [first, fresh] = lines.emplace(read.back().id, line);
                   PAN_CHECK(fresh, kData, "two rows have the same id")
                       .where(path)
                       .pointer("lines " + std::to_string(first->second) + " and " + std::to_string(line))
                       .expected("an id of its own for each row, or no \"id\"")
                       .got("\"" + first->first.substr(0, 60) + "\" on both")
                       .remedy("Change one of the two, or remove the row that is there twice");
                 });
      part.problems = std::move(read);
    });
    return part.problems;
  }

  struct Part {
    std::once_flag once;
    std::vector<Problem> problems;
  };
  JsonlConfig config_;
  FewShot few_shot_;
  std::optional<Pattern> pattern_;
  mutable std::array<Part, 2> parts_;
};

}  // namespace

std::shared_ptr<const Task> make_task(const JsonlConfig& config) { return std::make_shared<Jsonl>(config); }

}  // namespace pan::tasks::jsonl
