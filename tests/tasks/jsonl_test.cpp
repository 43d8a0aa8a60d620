#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"

namespace pan {
namespace {

using core::Json;
using tasks::Problem;
using tasks::Split;

class JsonlTask : public ::testing::Test {
 protected:
  std::shared_ptr<const tasks::Task> task(const std::string& rows, Json settings) {
    testing::write_text(folder_ / "t.jsonl", rows);
    settings["name"] = "jsonl";
    settings["train_path"] = folder_ / "t.jsonl";
    return tasks::make(settings);
  }
  testing::TempFolder folder_;
};

TEST_F(JsonlTask, MatchesTheWholeAnswer) {
  const auto t = task(
      "{\"prompt\":\"Say hi\",\"answer\":\" hi \",\"id\":\"x\",\"group\":\"g\",\"response\":\"well, hi\"}\n",
      {});
  const Problem p = t->problem(Split::kTrain, 0);
  EXPECT_EQ(p.id, "x");
  EXPECT_EQ(p.group, "g");
  EXPECT_EQ(p.prompt, "Say hi");
  EXPECT_EQ(p.reference, "hi");
  EXPECT_EQ(p.answer, "well, hi");
  EXPECT_EQ(t->judge(p, "hi\n").reward, 1);
  EXPECT_EQ(t->judge(p, "hi there").reward, 0);
  EXPECT_EQ(t->judge(p, " ").terms.at("no_answer"), 1);
}

TEST_F(JsonlTask, MatchesNumbersByValue) {
  const auto t =
      task("{\"q\":\"2+2?\",\"a\":4}\n{\"q\":\"1/2?\",\"a\":\"It is 0.5.\"}\n",
           {{"match", "numeric"}, {"prompt_field", "q"}, {"answer_field", "a"}, {"prompt_suffix", "Think."}});
  const Problem p = t->problem(Split::kTrain, 0), q = t->problem(Split::kTrain, 1);
  EXPECT_EQ(p.prompt, "2+2? Think.");
  EXPECT_TRUE(t->judge(p, "the sum is 4.0").correct);
  EXPECT_FALSE(t->judge(p, "the sum is 4, not 5").correct);
  EXPECT_TRUE(t->judge(q, "1/2").correct);
  EXPECT_EQ(q.answer, "It is 0.5.");
}

TEST_F(JsonlTask, MatchesWhatAPatternFindsLast) {
  const auto t =
      task("{\"prompt\":\"p\",\"answer\":\"blue\"}\n{\"prompt\":\"p\",\"answer\":\"so the answer is red\"}\n",
           {{"match", "regex"}, {"pattern", "answer is (\\w+)"}});
  const Problem p = t->problem(Split::kTrain, 0), q = t->problem(Split::kTrain, 1);
  EXPECT_TRUE(t->judge(p, "the answer is red. No, the answer is blue!").correct);
  EXPECT_FALSE(t->judge(p, "the answer is blue. No, the answer is red!").correct);
  EXPECT_FALSE(t->judge(p, "blue").answered);
  EXPECT_EQ(q.reference, "red");
  EXPECT_TRUE(t->judge(q, "answer is red\xff\xff").correct);
}

TEST_F(JsonlTask, PatternsSeeCharactersNotBytes) {
  const std::string row = "{\"prompt\":\"p\",\"answer\":\"\u00e9t\u00e9\"}\n";
  const auto word = task(row, {{"match", "regex"}, {"pattern", "r\u00e9ponse : (\\w+)"}});
  const Problem p = word->problem(Split::kTrain, 0);
  EXPECT_EQ(p.reference, "\u00e9t\u00e9");
  EXPECT_EQ(word->judge(p, "La r\u00e9ponse : \u00e9t\u00e9.").extracted, "\u00e9t\u00e9");
  EXPECT_TRUE(word->judge(p, "\xc3 r\u00e9ponse : \u00e9t\u00e9\xc3").correct);  // cut in mid-character
  const auto last = task(row, {{"match", "regex"}, {"pattern", "(?i)\u00c9.(.)"}});
  EXPECT_EQ(last->judge(p, "\u00e9t\u00e9").extracted, "\u00e9");  // one character, two bytes, either case
  const auto any = task(row, {{"match", "regex"}, {"pattern", "x*"}});  // empty matches all the way
  EXPECT_EQ(any->judge(p, "\u00e9\u00e9xx").extracted, "");
  EXPECT_EQ(any->judge(p, "\x80\x80\xff").extracted, "");
  EXPECT_THROW(task(row, {{"match", "regex"}, {"pattern", "\xff"}}), core::Error);
}

TEST_F(JsonlTask, TwoRowsWithOneIdAreRefusedWithBothLines) {
  const auto t = task(
      "{\"prompt\":\"p\",\"answer\":\"a\",\"id\":\"x\"}\n\n{\"prompt\":\"q\",\"answer\":\"b\",\"id\":7}\n"
      "{\"prompt\":\"r\",\"answer\":\"c\",\"id\":\"x\"}\n",
      {});
  try {
    t->size(Split::kTrain);
    FAIL() << "accepted";
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::kData);
    for (const char* part : {"two rows have the same id", "t.jsonl", "lines 1 and 4", "\"x\""})
      EXPECT_THAT(e.what(), ::testing::HasSubstr(part));
  }
  const auto bare = task("{\"prompt\":\"p\",\"answer\":\"a\"}\n{\"prompt\":\"p\",\"answer\":\"a\"}\n", {});
  EXPECT_EQ(bare->size(Split::kTrain), 2);  // rows without ids are named after their lines
}

TEST_F(JsonlTask, AHostilePatternGivesUp) {
  const auto t = task("{\"prompt\":\"p\",\"answer\":\"a\"}\n", {{"match", "regex"}, {"pattern", "^(a+)+$"}});
  const Problem p = t->problem(Split::kTrain, 0);
  EXPECT_FALSE(t->judge(p, std::string(100000, 'a') + "b").answered);
  const auto empty = task("{\"prompt\":\"p\",\"answer\":\"a\"}\n", {{"match", "regex"}, {"pattern", "x*"}});
  EXPECT_EQ(empty->judge(p, "xxy").extracted, "");
}

TEST_F(JsonlTask, RefusesSettingsAndRowsItCannotUse) {
  const std::string good = "{\"prompt\":\"p\",\"answer\":\"a\"}\n";
  EXPECT_THROW(task(good, {{"match", "regex"}}), core::Error);
  EXPECT_THROW(task(good, {{"match", "regex"}, {"pattern", "("}}), core::Error);
  EXPECT_THROW(task(good, {{"pattern", "a"}}), core::Error);
  EXPECT_THROW(task(good, {})->size(Split::kEval), core::Error);
  EXPECT_THROW(task(good, {{"match", "numeric"}})->size(Split::kTrain), core::Error);
  EXPECT_THROW(task("{\"prompt\":\"p\"}\n", {})->size(Split::kTrain), core::Error);
  EXPECT_THROW(task("{\"prompt\":\"p\",\"answer\":\" \"}\n", {})->size(Split::kTrain), core::Error);
  EXPECT_THROW(task("", {})->size(Split::kTrain), core::Error);
  EXPECT_THROW(tasks::make(Json{{"name", "jsonl"}}), core::Error);
}

}  // namespace
}  // namespace pan
