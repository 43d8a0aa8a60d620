#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/logic_grid/file.h"
#include "tasks/logic_grid/score.h"
#include "tasks/logic_grid/sizes.h"
#include "tasks_support.h"

namespace pan {
namespace {

using core::Json;
using tasks::Problem;
using tasks::Split;

std::shared_ptr<const tasks::Task> grid(Json settings) {
  settings["name"] = "logic_grid";
  return tasks::make(settings);
}

std::string failure(const Json& settings) {
  try {
    grid(settings);
  } catch (const core::Error& e) {
    return std::to_string(static_cast<int>(e.kind())) + " " + e.what();
  }
  return "";
}

TEST(LogicGridTask, IsAPureFunctionOfTheIndex) {
  const Json settings = {{"sizes", {"2x3", "3x3"}}, {"prompt_style", "compact"}, {"answer_style", "lines"}};
  const auto a = grid(settings), b = grid(settings);
  for (int64_t i : {17, 3, 0, 100000, 17}) {
    const Problem p = a->problem(Split::kTrain, i), q = b->problem(Split::kTrain, i);
    EXPECT_EQ(p.prompt, q.prompt);
    EXPECT_EQ(p.answer, q.answer);
    EXPECT_EQ(p.reference, q.reference);
    EXPECT_EQ(p.id, q.id);
  }
  EXPECT_NE(a->problem(Split::kTrain, 3).prompt, a->problem(Split::kEval, 3).prompt);
  EXPECT_NE(grid({{"sizes", {"3x3"}}, {"seed", 2}})->problem(Split::kTrain, 3).prompt,
            grid({{"sizes", {"3x3"}}})->problem(Split::kTrain, 3).prompt);
}

TEST(LogicGridTask, ItsWorkedAnswersEarnTheReward) {
  for (const char* prompt : {"full", "compact"}) {
    for (const char* answer : {"json", "lines"}) {
      const auto t = grid({{"sizes", {"2x2", "2x6", "3x3", "6x2", "6x6"}},
                           {"prompt_style", prompt},
                           {"answer_style", answer}});
      for (int64_t i = 0; i < 30; ++i) {
        const Problem p = t->problem(i % 2 == 0 ? Split::kTrain : Split::kEval, i);
        const auto v = t->judge(p, p.answer);
        EXPECT_EQ(v.reward, 1) << p.answer;
        EXPECT_EQ(v.terms.at("format"), 1) << p.answer;
        EXPECT_FALSE(v.extracted.empty());
        EXPECT_EQ(t->judge(p, "").reward, 0);
      }
    }
  }
}

// The solved example in the full prompt must not be taken for the answer, and the empty form must not earn
// cells.
TEST(LogicGridTask, ThePromptItselfIsNoRightAnswer) {
  for (const char* answer : {"json", "lines"}) {
    const auto t = grid({{"sizes", {"3x2"}}, {"answer_style", answer}});
    const Problem p = t->problem(Split::kTrain, 0);
    EXPECT_EQ(t->judge(p, p.prompt).terms.at("cell"), 0);
  }
}

TEST(LogicGridTask, SizesFollowTheirWeights) {
  const auto t = grid({{"sizes", {"2x2:3", "3x2"}}, {"prompt_style", "compact"}});
  std::map<std::string, int> count;
  for (int64_t i = 0; i < 2000; ++i) ++count[t->problem(Split::kTrain, i).group];
  // Binomial with p = 0.75: 1500 +- 6 standard deviations (19.4).
  EXPECT_NEAR(count["2x2"], 1500, 117);
  EXPECT_EQ(count["2x2"] + count["3x2"], 2000);
}

TEST(LogicGridTask, TheCurriculumFollowsTheIndexOfTheTrainSplit) {
  const auto t = grid({{"sizes", {"4x4"}},
                       {"curriculum", {"0: 2x2", "10: 2x3 3x2:2", "20: 3x3"}},
                       {"prompt_style", "compact"}});
  std::set<std::string> middle;
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(t->problem(Split::kTrain, i).group, "2x2");
    middle.insert(t->problem(Split::kTrain, 10 + i).group);
    EXPECT_EQ(t->problem(Split::kTrain, 20 + 1000 * i).group, "3x3");
    EXPECT_EQ(t->problem(Split::kEval, i).group, "4x4");
  }
  EXPECT_EQ(middle, (std::set<std::string>{"2x3", "3x2"}));
}

TEST(LogicGridTask, SplitsHaveTheConfiguredSizes) {
  const auto t = grid({{"sizes", {"2x2"}}, {"num_eval", 12}, {"num_train", 5}});
  EXPECT_EQ(t->size(Split::kEval), 12);
  EXPECT_EQ(t->size(Split::kTrain), 5);
  EXPECT_THROW(t->problem(Split::kEval, 12), core::Error);
  EXPECT_THROW(t->problem(Split::kTrain, -1), core::Error);
  EXPECT_EQ(grid({{"sizes", {"2x2"}}})->size(Split::kTrain), -1);
}

TEST(LogicGridTask, RefusesBadSettings) {
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"sizes", {"7x2"}}}, "/task/sizes/0"},
      {{{"sizes", {"3x3", "3-3"}}}, "/task/sizes/1"},
      {{{"sizes", {"3x3:0"}}}, "/task/sizes/0"},
      {{{"sizes", {"3x3:nan"}}}, "/task/sizes/0"},
      {{{"sizes", Json::array()}}, "/task/sizes"},
      {{{"curriculum", {"5: 3x3"}}}, "/task/curriculum/0"},
      {{{"curriculum", {"0: 3x3", "0: 2x2"}}}, "/task/curriculum/1"},
      {{{"curriculum", {"0:"}}}, "/task/curriculum/0"},
      {{{"curriculum", {"0 3x3"}}}, "/task/curriculum/0"},
      {{{"sizes", {"5x3"}}, {"value_pool", 4}}, "/task/value_pool"},
      {{{"sizes", {"3x5"}}, {"attribute_pool", 4}}, "/task/attribute_pool"},
      {{{"size", "3x3"}}, "sizes"},
      {{{"answer_style", "xml"}}, "json | lines"},
  };
  for (const auto& [settings, part] : cases) {
    const std::string text = failure(settings);
    EXPECT_EQ(text.substr(0, 2), "1 ") << settings << text;
    EXPECT_NE(text.find(part), std::string::npos) << settings << text;
  }
}

// What a very small model is trained on: the prompt must stay short.
TEST(LogicGridTask, CompactPromptsOfTinySizesAreShort) {
  const auto t =
      grid({{"sizes", {"2x2", "2x3", "3x2"}}, {"prompt_style", "compact"}, {"answer_style", "lines"}});
  for (int64_t i = 0; i < 200; ++i) {
    const std::string prompt = t->problem(Split::kTrain, i).prompt;
    int pieces = 0;  // words, numbers and single marks
    for (size_t k = 0; k < prompt.size(); ++k) {
      const bool word = std::isalnum(static_cast<unsigned char>(prompt[k])) != 0;
      const bool more =
          word && k + 1 < prompt.size() && std::isalnum(static_cast<unsigned char>(prompt[k + 1])) != 0;
      pieces += prompt[k] != ' ' && !more ? 1 : 0;
    }
    EXPECT_LE(pieces, 120) << prompt;
  }
}

class ZebraFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    testing::write_text(folder_ / "grids.jsonl", text);
    return folder_ / "grids.jsonl";
  }
  std::string row(const std::string& id, const std::string& cell) {
    return R"({"id":")" + id +
           R"(","size":"2*2","puzzle":"Two houses.","created_at":"x","solution":{"header":["House","Name","Drink"],)" +
           R"("rows":[["1",")" + cell + R"(","tea"],["2","Bob","milk"]]}})" + "\n";
  }
  testing::TempFolder folder_;
};

TEST_F(ZebraFile, IsTheEvalSplit) {
  const auto t = grid({{"path", write(row("a", "Ann") + row("b", "Eve"))}});
  ASSERT_EQ(t->size(Split::kEval), 2);
  const Problem p = t->problem(Split::kEval, 1);
  EXPECT_EQ(p.id, "b");
  EXPECT_EQ(p.group, "2x2");
  EXPECT_NE(p.prompt.find("Two houses."), std::string::npos);
  EXPECT_NE(p.prompt.find("\"Drink\": \"___\""), std::string::npos);
  EXPECT_EQ(
      t->judge(
           p,
           R"({"solution":{"House 1":{"Name":"eve","Drink":"tea"},"House 2":{"Name":"Bob","Drink":"milk"}}})")
          .reward,
      1);
  EXPECT_EQ(t->size(Split::kTrain), -1);
}

TEST_F(ZebraFile, BlankedSolutionsAreRefused) {
  for (const char* blank : {"___", "", "  "}) {
    const std::string text = failure({{"path", write(row("a", blank))}});
    EXPECT_EQ(text.substr(0, 2), "2 ") << text;
    EXPECT_NE(text.find("blanked"), std::string::npos) << text;
  }
}

TEST_F(ZebraFile, BrokenRowsAreRefusedWithTheirLine) {
  std::string size = row("a", "Ann"), no_id = row("a", "Ann");
  size.replace(size.find("2*2"), 3, "3*2");
  no_id.replace(no_id.find("\"id\""), 4, "\"ix\"");
  for (const std::string& text : {row("a", "Ann") + row("a", "Ann"), row("a", "Ann") + size,
                                  row("a", "Ann") + no_id, row("a", "Ann") + "{\n"}) {
    const std::string message = failure({{"path", write(text)}});
    EXPECT_EQ(message.substr(0, 2), "2 ") << message;
    EXPECT_NE(message.find("line 2"), std::string::npos) << message;
  }
  EXPECT_EQ(failure({{"path", folder_ / "nowhere.jsonl"}}).substr(0, 2), "2 ");
}

TEST_F(ZebraFile, WrittenFilesAreReadBack) {
  const std::string path = folder_ / "out.jsonl";
  tasks::logic_grid::write_file({.shape = {3, 3}, .count = 5, .seed = 7, .split = Split::kEval}, path);
  const auto t = grid({{"path", path}, {"seed", 7}, {"sizes", {"3x3"}}});
  ASSERT_EQ(t->size(Split::kEval), 5);
  for (int64_t i = 0; i < 5; ++i) {
    const Problem p = t->problem(Split::kEval, i);
    EXPECT_EQ(t->judge(p, p.answer).reward, 1);
  }
  EXPECT_THROW(tasks::logic_grid::write_file({.count = 0}, path), core::Error);
  EXPECT_THROW(tasks::logic_grid::write_file({.count = 1}, folder_ / "no/such/folder.jsonl"), core::Error);
}

TEST(TaskRegistry, KnowsItsTasksAndRefusesOthers) {
  EXPECT_EQ(tasks::names(), (std::vector<std::string>{"gsm8k", "logic_grid", "jsonl", "mix"}));
  EXPECT_THROW(tasks::make(Json{{"name", "sudoku"}}), core::Error);
  EXPECT_THROW(tasks::make(Json{{"name", "gsm8k"}, {"sizes", {"3x3"}}}), core::Error);
  EXPECT_EQ(grid(Json::object())->name(), "logic_grid");
}

}  // namespace
}  // namespace pan
