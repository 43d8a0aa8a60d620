#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/gsm8k/score.h"
#include "tasks/number_text.h"
#include "tasks_support.h"

namespace pan {
namespace {

using tasks::Problem;
using tasks::Split;
using tasks::Verdict;
using testing::bytes_of_latin1;
using testing::json_lines;

TEST(Gsm8kScore, AgreesWithTheOracle) {
  const auto cases = json_lines(testing::fixture("tasks/gsm8k_scores.jsonl"));
  ASSERT_GT(cases.size(), 600u);
  for (const auto& c : cases) {
    const std::string text = bytes_of_latin1(c["answer"].get<std::string>());
    const auto s = tasks::gsm8k::score(text, c["gold"].get<std::string>());
    const auto value = [](const std::optional<std::string>& v) {
      return v ? core::Json(*v) : core::Json(nullptr);
    };
    EXPECT_EQ(value(s.strict_value), c["strict_value"]) << c["answer"];
    EXPECT_EQ(value(s.flexible_value), c["flexible_value"]) << c["answer"];
    EXPECT_EQ(s.strict, c["strict"].get<bool>()) << c["answer"];
    EXPECT_EQ(s.flexible, c["flexible"].get<bool>()) << c["answer"];
    EXPECT_EQ(s.format, c["format"].get<bool>()) << c["answer"];
  }
}

TEST(Gsm8kScore, FindsAMarkFarFromTheEnd) {
  EXPECT_TRUE(tasks::gsm8k::score("#### 42\n" + std::string(100000, 'x'), "42").strict);
}

TEST(Gsm8kScore, TakesLinearTimeOnHostileText) {
  const size_t n = 1 << 20;
  std::string slashes, groups = "1", marks;
  for (size_t i = 0; i < n / 2; ++i) slashes += "1/";
  for (size_t i = 0; i < n / 4; ++i) groups += ",234";
  for (size_t i = 0; i < n / 5; ++i) marks += "#### ";
  const std::vector<std::string> texts = {std::string(n, '9'),  std::string(n, '#'),
                                          std::string(n, ' '),  std::string(n, '-'),
                                          std::string(n, '$'),  std::string(n, '.'),
                                          std::string(n, ','),  slashes,
                                          groups + "5",         marks,
                                          std::string(n, '\n'), "1/" + std::string(n, '7'),
                                          std::string(n, '\0'), std::string(n, '\xE2')};
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string& text : texts) tasks::gsm8k::score(text, "18");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(seconds, 10.0);  // a quadratic reader needs hours
}

TEST(Gsm8kScore, RemovesCalculatorNotes) {
  EXPECT_EQ(tasks::gsm8k::without_calculator_notes("48/2 = <<48/2=24>>24 clips, <<1>>"), "48/2 = 24 clips, ");
  EXPECT_EQ(tasks::gsm8k::without_calculator_notes("a << b"), "a << b");
}

TEST(Number, IsCanonicalOnlyAlone) {
  EXPECT_EQ(tasks::canonical_number(" $1,800.00 "), "1800");
  EXPECT_EQ(tasks::canonical_number("2/6"), "1/3");
  EXPECT_EQ(tasks::canonical_number("18 apples"), std::nullopt);
  EXPECT_EQ(tasks::canonical_number(""), std::nullopt);
}

// Two made-up problems in the data set's form.
constexpr const char* kRows =
    "{\"question\": \"Ann has 3 pens and buys 4. How many has she?\", \"answer\": \"She has 3+4 = <<3+4=7>>7 "
    "pens.\\n#### 7\"}\n"
    "\n"
    "{\"question\": \"A car costs $900 twice. How much?\", \"answer\": \"900*2 = $<<900*2=1800>>1,800\\n#### "
    "1,800\"}\n";

class Gsm8kTask : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::write_text(folder_ / "train.jsonl", kRows);
    testing::write_text(folder_ / "test.jsonl", kRows);
  }
  std::shared_ptr<const tasks::Task> task(core::Json settings = core::Json::object()) {
    settings["name"] = "gsm8k";
    settings["path"] = folder_.path();
    return tasks::make(settings);
  }
  testing::TempFolder folder_;
};

TEST_F(Gsm8kTask, ReadsQuestionsAndWorkedAnswers) {
  const auto t = task({{"prompt_suffix", "Go."}});
  ASSERT_EQ(t->size(Split::kTrain), 2);
  const Problem p = t->problem(Split::kEval, 1);
  EXPECT_EQ(p.prompt, "A car costs $900 twice. How much? Go.");
  EXPECT_EQ(p.reference, "1800");
  EXPECT_EQ(p.answer, "900*2 = $1,800\n#### 1800");
  EXPECT_NE(p.id, t->problem(Split::kTrain, 1).id);
  EXPECT_THROW(t->problem(Split::kEval, 2), core::Error);
}

TEST_F(Gsm8kTask, PaysTheChosenScore) {
  const auto strict = task(), flexible = task({{"score", "flexible"}, {"format_weight", 0.25}});
  const Problem p = strict->problem(Split::kTrain, 0);
  const Verdict a = strict->judge(p, "so 7.0 pens");
  EXPECT_EQ(a.reward, 0);
  EXPECT_FALSE(a.answered);
  EXPECT_EQ(a.terms.at("flexible"), 1);
  EXPECT_EQ(a.terms.at("no_answer"), 1);
  const Verdict b = flexible->judge(p, "so 7.0 pens");
  EXPECT_EQ(b.reward, 1);
  EXPECT_EQ(b.extracted, "7");
  EXPECT_EQ(flexible->judge(p, "so\n#### 8").reward, 0.25);
  EXPECT_EQ(flexible->judge(p, p.answer).reward, 1.25);
  EXPECT_TRUE(strict->judge(p, p.answer).correct);
}

TEST_F(Gsm8kTask, SaysHowToGetMissingData) {
  try {
    tasks::make(core::Json{{"name", "gsm8k"}, {"path", folder_ / "nowhere"}})->size(Split::kTrain);
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::kData);
    EXPECT_NE(e.remedy_text().find("scripts/fetch_gsm8k.sh"), std::string::npos);
  }
}

TEST_F(Gsm8kTask, RefusesBrokenFiles) {
  for (const char* text :
       {"", "\n\n", "not json\n", "[1]\n", "{\"question\": \"q\"}\n",
        "{\"question\": \"q\", \"answer\": \"#### x\"}\n", "{\"question\": \"q\", \"answer\": 3.5}\n"}) {
    testing::write_text(folder_ / "train.jsonl", text);
    try {
      task()->size(Split::kTrain);
      FAIL() << text;
    } catch (const core::Error& e) {
      EXPECT_EQ(e.kind(), core::ErrorKind::kData) << text;
      EXPECT_NE(std::string(e.what()).find("train.jsonl"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace pan
