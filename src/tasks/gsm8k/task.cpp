#include "tasks/gsm8k/task.h"

#include <array>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "tasks/few_shot.h"
#include "tasks/gsm8k/score.h"
#include "tasks/jsonl_rows.h"
#include "tasks/number_text.h"

namespace pan::tasks::gsm8k {
namespace {

constexpr size_t kLongestVote = 100;  // of Verdict::extracted, in bytes

struct Row {
  std::string question, worked, gold;
};

// "steps\n#### 1,800" to its two parts, the number canonical.
Row read_row(const core::Json& json, const std::string& path, int64_t line) {
  Row row;
  row.question = text_of(json, "question", path, line);
  const std::string answer = text_of(json, "answer", path, line);
  const size_t mark = answer.rfind("####");
  const auto gold = mark == std::string::npos ? std::nullopt : canonical_number(answer.substr(mark + 4));
  PAN_CHECK(gold.has_value(), kData, "an answer has no final number")
      .where(path)
      .pointer("line " + std::to_string(line))
      .expected("text that ends in \"#### number\"")
      .got("\"" + answer.substr(answer.size() - std::min<size_t>(answer.size(), 40)) + "\"");
  row.gold = *gold;
  row.worked = std::string(trimmed(without_calculator_notes(answer.substr(0, mark)))) + "\n#### " + row.gold;
  return row;
}

std::string around(const std::string& prefix, const std::string& text, const std::string& suffix) {
  return (prefix.empty() ? "" : prefix + " ") + text + (suffix.empty() ? "" : " " + suffix);
}

class Gsm8k : public Task {
 public:
  explicit Gsm8k(const Gsm8kConfig& config) : config_(config), few_shot_(config.few_shot, "gsm8k") {}

  std::string name() const override { return "gsm8k"; }
  int64_t size(Split split) const override { return static_cast<int64_t>(rows(split).size()); }

  Problem problem(Split split, int64_t index) const override {
    const auto& all = rows(split);
    PAN_CHECK(index >= 0 && index < static_cast<int64_t>(all.size()), kInternal, "problem index out of range")
        .expected("below " + std::to_string(all.size()))
        .got(std::to_string(index));
    const Row& row = all[static_cast<size_t>(index)];
    Problem p;
    p.id = std::string(split == Split::kTrain ? "gsm8k-train-" : "gsm8k-eval-") + std::to_string(index);
    p.prompt = prompt_of(row);
    p.reference = row.gold;
    p.answer = answer_of(row);
    return p;
  }

  std::vector<std::string> stop_strings() const override {
    return few_shot_.on() ? std::vector<std::string>{kNextQuestion} : std::vector<std::string>();
  }

  Verdict judge(const Problem& problem, const std::string& answer) const override {
    const Scores s = score(answer, problem.reference);
    const bool strict = config_.score == Gsm8kConfig::Score::kStrict;
    const auto& value = strict ? s.strict_value : s.flexible_value;
    Verdict v;
    v.correct = strict ? s.strict : s.flexible;
    v.answered = value.has_value();
    if (value) v.extracted = value->substr(0, kLongestVote);
    v.terms = {{"strict", s.strict ? 1.0 : 0.0},
               {"flexible", s.flexible ? 1.0 : 0.0},
               {"format", s.format ? 1.0 : 0.0},
               {"no_answer", v.answered ? 0.0 : 1.0}};
    v.reward = (v.correct ? 1.0 : 0.0) + config_.format_weight * v.terms["format"];
    return v;
  }

 private:
  bool direct() const { return config_.prompting == Prompting::kDirect; }

  std::string answer_of(const Row& row) const { return direct() ? "#### " + row.gold : row.worked; }

  std::string prompt_of(const Row& row) const {
    const std::string& suffix = direct() ? config_.direct_suffix : config_.prompt_suffix;
    if (!few_shot_.on()) return around(config_.prompt_prefix, row.question, suffix);
    const std::string space = config_.prompt_prefix.empty() || suffix.empty() ? "" : " ";
    const auto& train = rows(Split::kTrain);
    const auto examples =
        few_shot_.pick(static_cast<int64_t>(train.size()), row.question, [&](int64_t index) -> Example {
          const Row& shown = train[static_cast<size_t>(index)];
          return {shown.question, answer_of(shown)};
        });
    return few_shot_prompt(config_.prompt_prefix + space + suffix, examples, row.question);
  }

  const std::vector<Row>& rows(Split split) const {
    Part& part = parts_[split == Split::kTrain ? 0 : 1];
    std::call_once(part.once, [&] {
      const std::string path =
          config_.path + "/" + (split == Split::kTrain ? config_.train_file : config_.eval_file);
      std::vector<Row> read;
      read_jsonl(
          path,
          "Fetch GSM8K with scripts/fetch_gsm8k.sh, or point task.path at a folder that holds its files.",
          [&](const core::Json& json, int64_t line) { read.push_back(read_row(json, path, line)); });
      part.rows = std::move(read);
    });
    return part.rows;
  }

  struct Part {
    std::once_flag once;
    std::vector<Row> rows;
  };
  Gsm8kConfig config_;
  FewShot few_shot_;
  mutable std::array<Part, 2> parts_;
};

}  // namespace

std::shared_ptr<const Task> make_task(const Gsm8kConfig& config) { return std::make_shared<Gsm8k>(config); }

}  // namespace pan::tasks::gsm8k
