#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/few_shot.h"
#include "tasks/logic_grid/file.h"
#include "tasks_support.h"

namespace pan {
namespace {

using core::Json;
using tasks::Problem;
using tasks::Split;
using testing::json_lines;

std::string failure_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const core::Error& e) {
    return e.what();
  }
  return "";
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

class Prompting : public ::testing::Test {
 protected:
  std::shared_ptr<const tasks::Task> gsm8k(Json settings, int rows = 6) {
    std::string train;
    for (int i = 0; i < rows; ++i)
      train += Json{{"question", "How many is " + std::to_string(i) + " and 1?"},
                    {"answer", std::to_string(i) + "+1=<<1>>" + std::to_string(i + 1) + "\n#### " +
                                   std::to_string(i + 1)}}
                   .dump() +
               "\n";
    testing::write_text(folder_ / "train.jsonl", train);
    testing::write_text(folder_ / "test.jsonl", R"({"question":"How many is 2 and 1?","answer":"3\n#### 3"})"
                                                "\n");
    settings["name"] = "gsm8k";
    settings["path"] = folder_.path();
    return tasks::make(settings);
  }
  std::shared_ptr<const tasks::Task> jsonl(Json settings) {
    testing::write_text(folder_ / "t.jsonl",
                        "{\"prompt\":\"2+2?\",\"answer\":\"4\",\"response\":\"2+2 is 4\"}\n"
                        "{\"prompt\":\"3+3?\",\"answer\":\"so 6\",\"response\":\"3+3 is 6\"}\n"
                        "{\"prompt\":\"2+2?\",\"answer\":\"4\"}\n");
    settings["name"] = "jsonl";
    if (!settings.contains("eval_path")) settings["train_path"] = folder_ / "t.jsonl";
    return tasks::make(settings);
  }
  testing::TempFolder folder_;
};

// The fixture was written by `pan-ppo tasks logic-grid --size 2x3 --count 1 --seed 7 --split eval` of the
// version that had no other prompting.
TEST_F(Prompting, TheStandardPromptsAreWhatTheyWere) {
  const auto rows = json_lines(testing::fixture("tasks/standard_prompts.jsonl"));
  ASSERT_EQ(rows.size(), 4u);
  for (const Json& row : rows) {
    const bool full = row["prompt_style"] == "full", lines = row["answer_style"] == "lines";
    const Json now = Json::parse(tasks::logic_grid::file_row(
        {.shape = {2, 3},
         .seed = 7,
         .split = Split::kEval,
         .prompt_style = full ? tasks::PromptStyle::kFull : tasks::PromptStyle::kCompact,
         .answer_style = lines ? tasks::AnswerStyle::kLines : tasks::AnswerStyle::kJson},
        0));
    EXPECT_EQ(now["prompt"], row["prompt"]);
    EXPECT_EQ(now["answer"], row["answer"]);
  }
  EXPECT_TRUE(tasks::make(Json{{"name", "logic_grid"}})->stop_strings().empty());
  const auto t = gsm8k(Json::object());
  EXPECT_EQ(t->problem(Split::kTrain, 0).prompt,
            "How many is 0 and 1? Work it out step by step. End with a line that holds \"####\" and then the "
            "final answer as a number.");
  EXPECT_EQ(t->problem(Split::kTrain, 0).answer, "0+1=1\n#### 1");
  EXPECT_EQ(jsonl(Json::object())->problem(Split::kTrain, 0).prompt, "2+2?");
}

TEST_F(Prompting, DirectAsksForTheAnswerAlone) {
  const auto g = gsm8k({{"prompting", "direct"}});
  const Problem p = g->problem(Split::kTrain, 1);
  EXPECT_EQ(
      p.prompt,
      "How many is 1 and 1? Give the final answer alone, without any working, as one line: \"####\" and "
      "then the number.");
  EXPECT_EQ(p.answer, "#### 2");
  EXPECT_EQ(g->judge(p, p.answer).reward, 1);

  for (const char* style : {"full", "compact"}) {
    for (const char* answer : {"json", "lines"}) {
      const Json settings = {
          {"name", "logic_grid"}, {"sizes", {"3x3"}}, {"prompt_style", style}, {"answer_style", answer}};
      Json direct = settings;
      direct["prompting"] = "direct";
      const auto a = tasks::make(settings), b = tasks::make(direct);
      for (int64_t i = 0; i < 10; ++i) {
        const Problem cot = a->problem(Split::kTrain, i), bare = b->problem(Split::kTrain, i);
        EXPECT_EQ(bare.reference, cot.reference);  // the same puzzle
        EXPECT_NE(bare.prompt, cot.prompt);
        EXPECT_EQ(count_of(bare.prompt, "Reason in short"), 0u);
        EXPECT_EQ(count_of(bare.prompt, "\"reasoning\""), 0u);
        EXPECT_EQ(count_of(bare.answer, "Clue"), 0u);
        EXPECT_LT(bare.answer.size(), cot.answer.size());
        EXPECT_EQ(b->judge(bare, bare.answer).terms.at("format"), 1) << bare.answer;
        EXPECT_EQ(b->judge(bare, bare.answer).reward, 1);
        EXPECT_EQ(b->judge(bare, bare.prompt).terms.at("cell"), 0);
      }
    }
  }
}

TEST_F(Prompting, JsonlAsksAsTheDataOrInEitherWay) {
  const Json numeric = {{"match", "numeric"}, {"prompt_suffix", "A number."}};
  Json direct = numeric, cot = numeric;
  direct["prompting"] = "direct";
  cot["prompting"] = "cot";
  const Problem g = jsonl(numeric)->problem(Split::kTrain, 1), d = jsonl(direct)->problem(Split::kTrain, 1),
                c = jsonl(cot)->problem(Split::kTrain, 1);
  EXPECT_EQ(g.prompt, "3+3? A number.");
  EXPECT_EQ(d.prompt, "3+3? A number. Give the final answer alone, without any working.");
  EXPECT_EQ(c.prompt, "3+3? A number. Work it out step by step, then give the final answer.");
  EXPECT_EQ(g.answer, "3+3 is 6");
  EXPECT_EQ(d.answer, "6");
  EXPECT_EQ(c.answer, "3+3 is 6");
  EXPECT_NE(failure_of([&] { jsonl({{"prompting", "cot"}}); }).find("/task/prompting"), std::string::npos);
}

TEST_F(Prompting, ExamplesStandInFrontAndAreNeverTheQuestion) {
  const auto t = gsm8k({{"few_shot", 5}, {"prompt_prefix", "Sums."}, {"prompt_suffix", "Think."}});
  std::set<std::string> fronts;
  for (int64_t i = 0; i < 6; ++i) {
    const std::string prompt = t->problem(Split::kTrain, i).prompt;
    const std::string question = "Question: How many is " + std::to_string(i) + " and 1?\nAnswer:";
    EXPECT_EQ(prompt.rfind("Sums. Think.\n\nQuestion: ", 0), 0u);
    EXPECT_EQ(count_of(prompt, "Question: "), 6u);
    EXPECT_EQ(count_of(prompt, question), 1u);
    EXPECT_TRUE(prompt.ends_with(question));
    EXPECT_EQ(count_of(prompt, "Think."), 1u);
    EXPECT_NE(prompt.find("+1="), std::string::npos);
  }
  // The question of the eval split is one of the train split: it is not shown there either.
  EXPECT_EQ(count_of(t->problem(Split::kEval, 0).prompt, "How many is 2 and 1?"), 1u);
  EXPECT_EQ(t->stop_strings(), (std::vector<std::string>{"\nQuestion:"}));
  const std::string text = failure_of([&] { gsm8k({{"few_shot", 6}})->problem(Split::kTrain, 0); });
  EXPECT_NE(text.find("/task/few_shot"), std::string::npos) << text;
  EXPECT_NE(text.find("at most 5"), std::string::npos) << text;
}

TEST_F(Prompting, ExamplesAreTheSameForEveryQuestionAndFollowTheSeed) {
  const auto front = [](const std::string& prompt) { return prompt.substr(0, prompt.rfind("Question: ")); };
  const auto a = gsm8k({{"few_shot", 3}}, 50), b = gsm8k({{"few_shot", 3}}, 50),
             c = gsm8k({{"few_shot", 3}, {"few_shot_seed", 2}}, 50);
  std::set<std::string> fronts;
  for (int64_t i = 49; i >= 0; --i) fronts.insert(front(a->problem(Split::kTrain, i).prompt));
  EXPECT_EQ(fronts.size(), 4u);     // one for all, and one for each of the three that are examples themselves
  for (int64_t i = 0; i < 50; ++i)  // in another order: nothing depends on what was asked before
    EXPECT_EQ(a->problem(Split::kTrain, i).prompt, b->problem(Split::kTrain, i).prompt);
  EXPECT_NE(front(a->problem(Split::kEval, 0).prompt), front(c->problem(Split::kEval, 0).prompt));
}

TEST_F(Prompting, ExamplesFollowTheStyle) {
  const auto direct = gsm8k({{"few_shot", 2}, {"prompting", "direct"}});
  const std::string prompt = direct->problem(Split::kEval, 0).prompt;
  EXPECT_EQ(count_of(prompt, "\nAnswer: #### "), 2u);
  EXPECT_EQ(count_of(prompt, "+1="), 0u);
  const auto j = jsonl({{"few_shot", 1}, {"match", "numeric"}, {"prompting", "direct"}});
  EXPECT_EQ(j->problem(Split::kTrain, 0).prompt,
            "Give the final answer alone, without any working.\n\nQuestion: 3+3?\nAnswer: 6\n\nQuestion: "
            "2+2?\nAnswer:");
  // Rows 0 and 2 ask the same, so there is only one other question.
  EXPECT_NE(failure_of([&] {
              jsonl({{"few_shot", 2}})->problem(Split::kTrain, 0);
            }).find("at most 1"),
            std::string::npos);
  EXPECT_NE(failure_of([&] {
              jsonl({{"few_shot", 1}, {"eval_path", folder_ / "t.jsonl"}});
            }).find("train_path"),
            std::string::npos);
}

TEST_F(Prompting, GridsShowTrainPuzzlesWithTheirAnswers) {
  for (const char* style : {"full", "compact"}) {
    for (const char* answer : {"json", "lines"}) {
      const auto t = tasks::make(Json{{"name", "logic_grid"},
                                      {"sizes", {"2x3"}},
                                      {"num_train", 4},
                                      {"prompt_style", style},
                                      {"answer_style", answer},
                                      {"few_shot", 3}});
      const auto plain = tasks::make(Json{{"name", "logic_grid"},
                                          {"sizes", {"2x3"}},
                                          {"num_train", 4},
                                          {"prompt_style", style},
                                          {"answer_style", answer}});
      const bool full = std::string(style) == "full";
      for (int64_t i = 0; i < 4; ++i) {
        const Problem p = t->problem(Split::kTrain, i);
        EXPECT_EQ(p.answer, plain->problem(Split::kTrain, i).answer);
        for (int64_t k = 0; k < 4; ++k)  // the worked answers of the three others, not its own
          EXPECT_EQ(count_of(p.prompt, plain->problem(Split::kTrain, k).answer), k == i ? 0u : 1u);
        EXPECT_EQ(count_of(p.prompt, full ? "# Solved example" : "Solution:"), full ? 3u : 4u);
      }
      EXPECT_EQ(t->stop_strings().size(), 1u);
      EXPECT_EQ(plain->problem(Split::kTrain, 0).answer.find(t->stop_strings()[0]), std::string::npos);
    }
  }
}

TEST_F(Prompting, EndlessSplitsHaveExamplesToo) {
  const auto t = tasks::make(Json{{"name", "logic_grid"},
                                  {"sizes", {"3x3"}},
                                  {"prompt_style", "compact"},
                                  {"answer_style", "lines"},
                                  {"few_shot", 4}});
  const std::string prompt = t->problem(Split::kEval, 3).prompt;
  EXPECT_EQ(count_of(prompt, "Solution:\n"), 5u);
  EXPECT_EQ(count_of(prompt, "House 1: Name="), 4u);
}

}  // namespace
}  // namespace pan
