#include "eval/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "support/support.h"
#include "train/tiny_run.h"

namespace pan::eval {
namespace {

using ::testing::HasSubstr;

// Right when the extracted answer is the reference "A"; "" = no answer.
tasks::Verdict verdict(const std::string& extracted) {
  return {.reward = extracted == "A" ? 1.0 : 0.0,
          .correct = extracted == "A",
          .answered = !extracted.empty(),
          .extracted = extracted,
          .terms = {{"format", extracted.empty() ? 0.0 : 1.0}}};
}

// What each answer to each problem is judged to be; whatever the model writes. "long" as a group: the prompt
// does not fit.
struct Row {
  std::string group;
  std::vector<std::string> extracted;
};

class ScriptedTask : public tasks::Task {
 public:
  explicit ScriptedTask(std::vector<Row> rows) : rows_(std::move(rows)) {}
  std::string name() const override { return "scripted"; }
  int64_t size(tasks::Split) const override { return static_cast<int64_t>(rows_.size()); }
  tasks::Problem problem(tasks::Split, int64_t index) const override {
    tasks::Problem p;
    p.id = std::to_string(index);
    p.prompt = rows_[static_cast<size_t>(index)].group == "long" ? std::string(2000, 'x') : "2 houses";
    p.reference = "A";
    p.group = rows_[static_cast<size_t>(index)].group;
    return p;
  }
  tasks::Verdict judge(const tasks::Problem&, const std::string&) const override { return {}; }
  std::vector<tasks::Verdict> judge_all(const std::vector<tasks::Answer>& answers) const override {
    std::map<std::string, size_t> seen;
    std::vector<tasks::Verdict> out;
    for (const tasks::Answer& a : answers)
      out.push_back(verdict(rows_[std::stoul(a.problem->id)].extracted.at(seen[a.problem->id]++)));
    return out;
  }

 private:
  std::vector<Row> rows_;
};

class Evaluate : public ::testing::Test {
 protected:
  Evaluate() {
    core::set_log_level(core::LogLevel::kError);
    pan::testing::make_tiny_model(model_, 5, 1);
    tokenizer_ = tokenizer::load(model_);
    decoder_ = model::load_decoder(model_, {});
  }
  ~Evaluate() override { core::set_log_level(core::LogLevel::kInfo); }

  Evaluation run(const std::vector<Row>& rows, EvalConfig config, std::vector<int64_t> stop_tokens = {}) {
    config.temperature = config.samples > 1 ? 1 : 0;
    if (config.max_new_tokens == 0) config.max_new_tokens = 4;
    const ScriptedTask task(rows);
    return evaluate({.decoder = *decoder_,
                     .tokenizer = *tokenizer_,
                     .task = task,
                     .encode = [&](const tasks::Problem& p) { return tokenizer_->encode(p.prompt, {}); },
                     .stop_tokens = std::move(stop_tokens),
                     .config = config,
                     .seed = 3});
  }

  pan::testing::TempFolder folder_;
  std::string model_ = folder_ / "model";
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<model::Decoder> decoder_;
};

TEST_F(Evaluate, AverageMajorityAndPassOfSeveralAnswers) {
  const Evaluation e = run({{"a", {"A", "A", "B", "B"}},   // a tie: the answer that came first wins
                            {"a", {"B", "A", "B", "A"}},   // and here it is wrong
                            {"b", {"", "", "", "A"}},      // silence has no vote
                            {"b", {"B", "C", "D", "E"}}},  // never right
                           {.samples = 4});
  EXPECT_DOUBLE_EQ(e.metrics.at("accuracy"), (0.5 + 0.5 + 0.25 + 0) / 4);
  EXPECT_DOUBLE_EQ(e.metrics.at("avg@4"), e.metrics.at("accuracy"));
  EXPECT_DOUBLE_EQ(e.metrics.at("maj@4"), 2.0 / 4);
  EXPECT_DOUBLE_EQ(e.metrics.at("pass@4"), 3.0 / 4);
  EXPECT_DOUBLE_EQ(e.metrics.at("no_answer_rate"), 3.0 / 16);
  EXPECT_DOUBLE_EQ(e.metrics.at("accuracy/a"), 0.5);
  EXPECT_DOUBLE_EQ(e.metrics.at("accuracy/b"), 0.125);
  EXPECT_EQ(e.num_problems, 4);
  EXPECT_EQ(e.num_samples, 16);
  EXPECT_EQ(e.rows.size(), 16u);
}

TEST_F(Evaluate, MajorityOfSilenceIsWrong) {
  const Evaluation e = run({{"", {"", "", ""}}}, {.samples = 3});
  EXPECT_EQ(e.metrics.at("maj@3"), 0);
  EXPECT_EQ(e.metrics.at("no_answer_rate"), 1);
}

TEST_F(Evaluate, IntervalsAreWilsonForOneTrialPerItemElseBootstrap) {
  // 2 of 5; the bounds by the closed form in an independent Python expression.
  const double low = 0.11762077423264783, high = 0.769275718723987;
  const Evaluation greedy =
      run({{"", {"A"}}, {"", {"A"}}, {"", {"B"}}, {"", {"B"}}, {"", {""}}}, {.samples = 1});
  EXPECT_EQ(greedy.intervals.at("accuracy").method, "wilson");
  EXPECT_NEAR(greedy.intervals.at("accuracy").low, low, 1e-12);
  EXPECT_NEAR(greedy.intervals.at("accuracy").high, high, 1e-12);
  EXPECT_EQ(greedy.metrics.count("maj@1"), 0u);

  const Evaluation sampled =
      run({{"", {"A", "A"}}, {"", {"A", "A"}}, {"", {"B", "A"}}, {"", {"B", "B"}}, {"", {"B", "B"}}},
          {.samples = 2});
  EXPECT_EQ(sampled.intervals.at("maj@2").method, "wilson");
  EXPECT_NEAR(sampled.intervals.at("maj@2").low, low, 1e-12);
  for (const char* key : {"accuracy", "pass@2"}) {
    const Interval i = sampled.intervals.at(key);
    EXPECT_THAT(i.method, HasSubstr("bootstrap")) << key;
    EXPECT_LT(i.low, i.value);
    EXPECT_GT(i.high, i.value);
    EXPECT_TRUE(i.low >= 0 && i.high <= 1);
  }
}

TEST_F(Evaluate, OverlongPromptsAreItemsWithoutAnAnswer) {
  const Evaluation e = run({{"", {"A"}}, {"long", {"A"}}, {"", {"A"}}, {"", {"B"}}}, {});
  EXPECT_EQ(e.num_overlong_prompts, 1);
  EXPECT_EQ(e.num_problems, 4);
  EXPECT_EQ(e.num_samples, 3);
  EXPECT_DOUBLE_EQ(e.metrics.at("accuracy"), 2.0 / 4);
  EXPECT_DOUBLE_EQ(e.metrics.at("no_answer_rate"), 1.0 / 4);
  EXPECT_EQ(core::Json::parse(e.results).at("num_overlong_prompts"), 1);
}

TEST_F(Evaluate, SaysHowManyPromptsAreOverlong) {
  core::set_log_level(core::LogLevel::kWarn);
  const std::string log = folder_ / "log.txt";
  core::set_log_file(log);
  run({{"", {"A"}}, {"long", {"A"}}, {"long", {"B"}}}, {});
  core::set_log_file("");
  EXPECT_THAT(
      pan::testing::read_text(log),
      ::testing::AllOf(HasSubstr("2 of 3 prompts"), HasSubstr("512 tokens"), HasSubstr("not answered")));
  try {
    run({{"long", {"A"}}, {"long", {"A"}}}, {});
    FAIL() << "an evaluation without any answer";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kData);
    for (const char* part :
         {"every prompt is too long", "scripted", "expected", "512", "got 2 of 2", "context"})
      EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

TEST_F(Evaluate, TruncatedAndFinishedAnswersAreToldApart) {
  const std::vector<Row> rows(3, {"", {"A", "B"}});
  const Evaluation cut = run(rows, {.samples = 2, .max_new_tokens = 5});
  EXPECT_EQ(cut.metrics.at("truncated_rate"), 1);
  EXPECT_EQ(cut.metrics.at("response_length/mean"), 5);
  std::vector<int64_t> every_token;
  for (int64_t id = 0; id < tokenizer_->vocab_size(); ++id) every_token.push_back(id);
  const Evaluation ended = run(rows, {.samples = 2, .max_new_tokens = 5}, every_token);
  EXPECT_EQ(ended.metrics.at("truncated_rate"), 0);
  EXPECT_EQ(ended.metrics.at("response_length/mean"), 1);
  every_token.resize(every_token.size() / 2);  // some of both
  const Evaluation some = run(rows, {.samples = 2, .max_new_tokens = 2}, every_token);
  double length = 0;
  for (const std::string& row : some.rows) length += core::Json::parse(row).at("finish") == "length";
  EXPECT_DOUBLE_EQ(some.metrics.at("truncated_rate"), length / 6);
}

TEST_F(Evaluate, EveryItemOfTheLimitIsScoredInOrder) {
  const std::vector<Row> rows(5, {"", {"A", "B"}});
  const Evaluation e = run(rows, {.num_problems = 3, .samples = 2, .slots = 2});
  ASSERT_EQ(e.rows.size(), 6u);
  for (size_t i = 0; i < e.rows.size(); ++i) {
    const core::Json row = core::Json::parse(e.rows[i]);
    EXPECT_EQ(row.at("id"), std::to_string(i / 2));
    EXPECT_EQ(row.at("rewards").at("correct"), i % 2 == 0 ? 1 : 0);
    EXPECT_EQ(row.at("rewards").at("format"), 1);
  }
  EXPECT_EQ(run(rows, {.num_problems = 9, .samples = 2}).num_problems, 5);
  EXPECT_THROW(run({}, {}), core::Error);
}

TEST_F(Evaluate, ResultsNameDecodingAndSeed) {
  const Evaluation e = run({{"", {"A", "B"}}}, {.samples = 2, .top_p = 0.9, .top_k = 7, .max_new_tokens = 3});
  const core::Json results = core::Json::parse(e.results);
  EXPECT_EQ(results.at("seed"), 3);
  EXPECT_EQ(results.at("task"), "scripted");
  EXPECT_EQ(results.at("decoding"),
            core::Json(
                {{"samples", 2}, {"temperature", 1.0}, {"top_p", 0.9}, {"top_k", 7}, {"max_new_tokens", 3}}));
  write_evaluation(folder_ / "out", e);
  EXPECT_EQ(pan::testing::read_text(folder_ / "out/results.json"), e.results);
}

}  // namespace
}  // namespace pan::eval
