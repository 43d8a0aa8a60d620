#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/registry.h"

namespace pan {
namespace {

using core::Json;
using tasks::Problem;
using tasks::Split;
using ::testing::HasSubstr;

class Mix : public ::testing::Test {
 protected:
  Mix() {
    for (const char* name : {"a", "b"}) {
      std::string rows;
      for (int i = 0; i < (name[0] == 'a' ? 5 : 3); ++i)
        rows += Json{{"prompt", name + std::to_string(i)}, {"answer", name}, {"id", "r" + std::to_string(i)}}
                    .dump() +
                "\n";
      testing::write_text(folder_ / name, rows);
    }
  }
  Json jsonl(const std::string& file, double weight) const {
    return {{"name", "jsonl"},
            {"label", "set-" + file},
            {"weight", weight},
            {"train_path", folder_ / file},
            {"eval_path", folder_ / file}};
  }
  Json grid(double weight) const {
    return {{"name", "logic_grid"}, {"weight", weight}, {"sizes", {"2x2", "2x3"}}, {"num_eval", 4}};
  }
  static std::shared_ptr<const tasks::Task> mix(const Json& parts, int seed = 1) {
    return tasks::make(Json{{"name", "mix"}, {"parts", parts}, {"seed", seed}});
  }
  static std::string label(const Problem& p) { return p.id.substr(0, p.id.find(':')); }
  static std::string failure(const Json& parts) {
    try {
      mix(parts);
    } catch (const core::Error& e) {
      return std::to_string(static_cast<int>(e.kind())) + " " + e.what();
    }
    return "";
  }
  testing::TempFolder folder_;
};

TEST_F(Mix, EveryStretchHasTheSharesOfTheWeights) {
  const auto t = mix(Json::array({jsonl("a", 3), jsonl("b", 1), grid(0.5)}));
  EXPECT_EQ(t->size(Split::kTrain), -1);
  std::map<std::string, int> count;
  for (int64_t i = 0; i < 900; ++i) {
    ++count[label(t->problem(Split::kTrain, i))];
    for (const auto& [name, share] : {std::pair("set-a", 3 / 4.5), std::pair("set-b", 1 / 4.5)})
      EXPECT_NEAR(count[name], share * static_cast<double>(i + 1), 1.5) << name << " of the first " << i + 1;
  }
  EXPECT_EQ(count["set-a"], 600);
  EXPECT_EQ(count["set-b"], 200);
  EXPECT_EQ(count["logic_grid"], 100);
}

TEST_F(Mix, IsAFunctionOfSeedAndIndex) {
  const Json parts = Json::array({jsonl("a", 2), jsonl("b", 1), grid(1)});
  const auto forward = mix(parts), backward = mix(parts), other = mix(parts, 2);
  int moved = 0;
  for (int64_t i = 199; i >= 0; --i) backward->problem(Split::kTrain, i);
  for (int64_t i = 0; i < 200; ++i) {
    const Problem p = forward->problem(Split::kTrain, i);
    EXPECT_EQ(p.id, backward->problem(Split::kTrain, i).id);
    EXPECT_EQ(p.prompt, backward->problem(Split::kTrain, i).prompt);
    EXPECT_EQ(label(p), label(other->problem(Split::kTrain, i)));  // the weights decide, not the seed
    moved += p.id != other->problem(Split::kTrain, i).id;
  }
  EXPECT_GT(moved, 50);
}

TEST_F(Mix, FiniteSplitsAreReadInEpochsEndlessOnesInOrder) {
  const auto t = mix(Json::array({jsonl("a", 1), grid(1)}));
  const auto alone = tasks::make(Json{{"name", "logic_grid"}, {"sizes", {"2x2", "2x3"}}, {"num_eval", 4}});
  std::vector<std::string> a;
  int64_t grids = 0;
  for (int64_t i = 0; i < 100; ++i) {
    const Problem p = t->problem(Split::kTrain, i);
    if (label(p) == "set-a") {
      a.push_back(p.id);
      EXPECT_EQ(p.group, "set-a");
      continue;
    }
    const Problem own = alone->problem(Split::kTrain, grids++);
    EXPECT_EQ(p.prompt, own.prompt);
    EXPECT_EQ(p.id, "logic_grid:" + own.id);
    EXPECT_EQ(p.group, "logic_grid/" + own.group);
  }
  ASSERT_EQ(a.size(), 50u);
  std::set<std::vector<std::string>> orders;
  for (size_t epoch = 0; epoch < 10; ++epoch) {
    const std::vector<std::string> one(a.begin() + static_cast<std::ptrdiff_t>(5 * epoch),
                                       a.begin() + static_cast<std::ptrdiff_t>(5 * epoch + 5));
    EXPECT_EQ(std::set<std::string>(one.begin(), one.end()).size(), 5u);  // each problem once
    orders.insert(one);
  }
  EXPECT_GT(orders.size(), 5u);
}

TEST_F(Mix, TheEvalSplitTakesTurns) {
  const auto t = mix(Json::array({jsonl("b", 9), grid(1), jsonl("a", 1)}));
  ASSERT_EQ(t->size(Split::kEval), 3 + 4 + 5);
  std::string labels;
  std::set<std::string> ids;
  for (int64_t i = 0; i < 12; ++i) {
    const Problem p = t->problem(Split::kEval, i);
    labels += label(p) == "set-b" ? 'b' : label(p) == "set-a" ? 'a' : 'g';
    ids.insert(p.id);
  }
  EXPECT_EQ(labels, "bgabgabgagaa");
  EXPECT_EQ(ids.size(), 12u);
  EXPECT_THROW(t->problem(Split::kEval, 12), core::Error);
}

TEST_F(Mix, EachTaskJudgesItsOwnProblems) {
  const auto t = mix(Json::array({jsonl("a", 1), jsonl("b", 1), grid(1)}));
  for (int64_t i = 0; i < 12; ++i) {
    const Problem p = t->problem(Split::kEval, i);
    EXPECT_EQ(t->judge(p, p.answer).reward, 1) << p.id;
    EXPECT_EQ(t->judge(p, "c").reward, 0);
    EXPECT_EQ(t->judge(p, "a").correct, label(p) == "set-a");
    EXPECT_EQ(t->judge(p, p.answer).terms.count("cell"), label(p) == "logic_grid" ? 1u : 0u);
  }
  Problem foreign;
  foreign.id = "x:y";
  EXPECT_EQ(t->judge(foreign, "a").reward, 0);
}

TEST_F(Mix, StopStringsAreThoseOfAllTasks) {
  Json a = jsonl("a", 1), b = jsonl("b", 1), g = grid(1);
  a["few_shot"] = b["few_shot"] = g["few_shot"] = 1;
  EXPECT_EQ(mix(Json::array({a, b, g}))->stop_strings(),
            (std::vector<std::string>{"\nQuestion:", "\n# Solved example"}));
}

TEST_F(Mix, AProgramJudgesThePartsThatDoNot) {
  Json silent = jsonl("b", 1);
  silent["match"] = "none";
  tasks::TaskConfig config;
  config.name = "mix";
  config.mix.parts = Json::array({jsonl("a", 1), silent}).dump();
  EXPECT_THAT(
      [&] { tasks::make(config, tasks::RewardConfig{}); },
      ::testing::Throws<core::Error>(::testing::Property(&core::Error::what, HasSubstr("task set-b"))));
  const auto t = tasks::make(config, {.command = Json(R"(sed -u 's/^{/{"reward":0.5,/')").dump()});
  const Problem a = t->problem(Split::kEval, 0), b = t->problem(Split::kEval, 1);
  EXPECT_FALSE(t->judge(a, "x").correct);  // by its own match
  EXPECT_TRUE(t->judge(b, "x").correct);   // it earned more than 0
}

TEST_F(Mix, RefusesBadParts) {
  Json no_file = jsonl("a", 1), twice = jsonl("a", 1), bad_label = jsonl("a", 1);
  no_file["train_path"] = no_file["eval_path"] = "";
  bad_label["label"] = "a/b";
  const std::vector<std::pair<Json, std::string>> cases = {
      {Json(nullptr), "/task/parts"},
      {Json::array(), "/task/parts"},
      {Json::array({3}), "/task/parts/0"},
      {Json::array({grid(1), grid(1)}), "/task/parts/1/label"},
      {Json::array({grid(0)}), "/task/parts/0/weight"},
      {Json::array({grid(-1)}), "/task/parts/0/weight"},
      {Json::array({bad_label}), "/task/parts/0/label"},
      {Json::array({{{"weight", 1}}}), "/task/parts/0/name"},
      {Json::array({{{"name", "mix"}}}), "/task/parts/0/name"},
      {Json::array({{{"name", "sudoku"}}}), "/task/parts/0/name"},
      {Json::array({grid(1), {{"name", "gsm8k"}, {"sizes", {"3x3"}}}}), "/task/parts/1/sizes"},
      {Json::array({jsonl("a", 1), {{"name", "logic_grid"}, {"sizes", {"9x9"}}}}), "/task/parts/1/sizes/0"},
      {Json::array({grid(1), no_file}), "/task/parts/1/train_path"},
  };
  for (const auto& [parts, pointer] : cases) {
    const std::string text = failure(parts);
    EXPECT_EQ(text.substr(0, 2), "1 ") << parts << text;
    EXPECT_THAT(text, HasSubstr(pointer)) << parts;
  }
  EXPECT_THAT(failure(Json::array({{{"name", "gsm8k"}, {"format_weight", -1}}})),
              HasSubstr("explain task/format_weight"));
}

}  // namespace
}  // namespace pan
