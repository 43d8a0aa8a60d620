#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/logic_grid/score.h"
#include "tasks_support.h"

namespace pan {
namespace {

using namespace tasks::logic_grid;
using testing::bytes_of_latin1;

SolutionTable small_table() { return {{"Name", "Drink"}, {{"Ann", "tea"}, {"Bob", "milk"}}}; }

ReadGrid lines(const std::string& text) { return read_lines_answer(text, {"Name", "Drink"}, 2); }

TEST(LogicGridJson, AgreesWithTheOracle) {
  const auto rows = testing::json_lines(testing::fixture("tasks/grid_scores.jsonl"));
  ASSERT_GT(rows.size(), 50u);
  const SolutionTable truth = parse_solution(rows[0].dump(), "fixture");
  for (size_t i = 1; i < rows.size(); ++i) {
    const ReadGrid grid =
        read_json_answer(bytes_of_latin1(rows[i]["answer"].get<std::string>()), truth.attributes, 3);
    EXPECT_EQ(grid.answered, rows[i]["answered"].get<bool>()) << i << ": " << rows[i]["answer"];
    EXPECT_EQ(compare(grid, truth).right, rows[i]["right"].get<int>()) << i << ": " << rows[i]["answer"];
    EXPECT_EQ(compare(grid, truth).all, 9);
  }
}

TEST(LogicGridJson, ExactMeansEveryCellOnceAndNothingElse) {
  const std::string good =
      R"({"solution":{"House 1":{"Name":"a","Drink":"b"},"House 2":{"Name":"c","Drink":"d"}}})";
  EXPECT_TRUE(read_json_answer(good, {"Name", "Drink"}, 2).exact);
  EXPECT_FALSE(read_json_answer(good, {"Name", "Drink"}, 3).exact);
  EXPECT_FALSE(read_json_answer(good, {"Name"}, 2).exact);
  EXPECT_FALSE(read_json_answer(good, {"Name", "Pet"}, 2).exact);
}

TEST(LogicGridLines, ReadsTheForm) {
  const ReadGrid g = lines(
      "Clue 1: Ann, so House 1 has tea.\nHouse 1 has Ann, so Bob is in house 2.\n"
      "House 1: Name=Ann, Drink=tea\nHouse 2: Name=Bob, Drink=milk");
  EXPECT_TRUE(g.answered);
  EXPECT_TRUE(g.exact);
  EXPECT_EQ(compare(g, small_table()).right, 4);
  EXPECT_EQ(vote_of(g), "ann|tea;bob|milk");
}

TEST(LogicGridLines, ForgivesSpacingCaseAndMarks) {
  for (const char* text : {"house 1:name = ANN ,drink= Tea\r\nHOUSE 2 : Name=bob,Drink=milk\r\n",
                           "- **House 1**: Name=Ann, Drink=tea\n- **House 2**: Name=Bob, Drink=milk",
                           "**House 1:** Drink=tea, Name=Ann\n\n**House 2:** Drink=milk, Name=Bob"}) {
    EXPECT_EQ(compare(lines(text), small_table()).right, 4) << text;
    EXPECT_TRUE(lines(text).exact) << text;
  }
}

TEST(LogicGridLines, CountsTheLastLineOfAHouse) {
  const ReadGrid g =
      lines("House 1: Name=Bob, Drink=milk\nHouse 1: Name=Ann, Drink=tea\nHouse 2: Name=Ann, Drink=milk");
  EXPECT_EQ(compare(g, small_table()).right, 3);
  EXPECT_FALSE(g.exact);
}

TEST(LogicGridLines, KnowsWhenThereIsNoAnswer) {
  for (const char* text : {"", "\n\n", "House 1:", "House 1: Ann, tea", "House 1 Name=Ann",
                           "House 0: Name=Ann", "House 12: Name=Ann", "House 1: Colour=red",
                           "House 1: Name=", "House 3: Name=Ann", "Home 1: Name=Ann", "House : Name=Ann"}) {
    EXPECT_FALSE(lines(text).answered) << text;
    EXPECT_EQ(compare(lines(text), small_table()).right, 0) << text;
    EXPECT_EQ(vote_of(lines(text)), "") << text;
  }
}

TEST(LogicGridLines, IsExactOnlyWithoutExtras) {
  EXPECT_FALSE(lines("House 1: Name=Ann, Drink=tea").exact);
  EXPECT_FALSE(lines("House 1: Name=Ann\nHouse 2: Name=Bob, Drink=milk").exact);
  EXPECT_FALSE(lines("House 1: Name=Ann, Drink=tea, Pet=dog\nHouse 2: Name=Bob, Drink=milk").exact);
  EXPECT_FALSE(lines("House 1: Name=Ann, Name=Ann\nHouse 2: Name=Bob, Drink=milk").exact);
  EXPECT_FALSE(
      lines("House 1: Name=Ann, Drink=tea\nHouse 2: Name=Bob, Drink=milk\nHouse 3: Name=Eve, Drink=milk")
          .exact);
}

TEST(LogicGridScore, TakesLinearTimeOnHostileText) {
  const size_t n = 1 << 20;
  std::string keys = "{\"solution\":{", nested, pairs = "House 1: ", house_lines;
  for (size_t i = 0; i < n / 10; ++i) keys += "\"" + std::to_string(i) + "\":1,";
  keys += "\"x\":1}}";
  for (size_t i = 0; i < n / 8; ++i) nested += "{\"a\":";
  nested += "1" + std::string(n / 8, '}');
  for (size_t i = 0; i < n / 8; ++i) pairs += "Name=x,";
  for (size_t i = 0; i < n / 16; ++i) house_lines += "House 1: Name=a\n";
  std::string pieces;
  for (size_t i = 0; i < n / 2; ++i) pieces += "{}";
  const std::vector<std::string> texts = {
      std::string(n, '{'),
      std::string(n, '}'),
      std::string(n / 2, '{') + std::string(n / 2, '}'),
      pieces,
      keys,
      nested,
      "{\"solution\":" + std::string(n / 2, '[') + std::string(n / 2, ']') + "}",
      "{\"solution\":" + std::string(n, '9') + "}",
      "{\"solution\":{\"House 1\":{\"Name\":" + std::string(n, '9') + "}}}",
      "{\"solution\":\"" + std::string(n, '\xff') + "\"}",
      std::string(n, '\xff'),
      std::string(n, '\0'),
      pairs,
      house_lines,
      std::string(n, '='),
      std::string(n, ','),
      std::string(n, '*'),
      std::string(n, '\n'),
      "House 1:" + std::string(n, '*'),
      "{\"solution\":1e999999999}",
      "{\"solution\":\"\\ud800\"}",
      "{\"solution\":\"" + std::string(n, '\\') + "\"}"};
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string& text : texts) {
    const ReadGrid a = read_json_answer(text, {"Name", "Drink"}, 2),
                   b = read_lines_answer(text, {"Name", "Drink"}, 2);
    EXPECT_EQ(compare(a, small_table()).right + compare(b, small_table()).right, 0);
  }
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 20.0);
}

TEST(LogicGridSolution, SurvivesARoundTrip) {
  const SolutionTable t = parse_solution(solution_json(small_table()), "test");
  EXPECT_EQ(t.attributes, small_table().attributes);
  EXPECT_EQ(t.rows, small_table().rows);
  for (const char* bad :
       {"", "{}", "[]", R"({"header":["House","A"],"rows":[]})", R"({"header":["House","A"],"rows":[["1"]]})",
        R"({"header":["House",1],"rows":[["1","x"]]})", R"({"header":["House","A"],"rows":[["1",2]]})"})
    EXPECT_THROW(parse_solution(bad, "test"), core::Error) << bad;
}

TEST(LogicGridTask, PaysByPuzzleAndOptionallyByCellAndForm) {
  tasks::Problem p;
  p.reference = solution_json(small_table());
  const std::string right = "House 1: Name=Ann, Drink=tea\nHouse 2: Name=Bob, Drink=milk";
  const std::string half = "House 1: Name=Ann, Drink=milk\nHouse 2: Name=Bob, Drink=tea";
  const auto plain = tasks::make(core::Json{{"name", "logic_grid"}, {"answer_style", "lines"}});
  EXPECT_EQ(plain->judge(p, right).reward, 1);
  EXPECT_TRUE(plain->judge(p, right).correct);
  EXPECT_EQ(plain->judge(p, half).reward, 0);
  EXPECT_EQ(plain->judge(p, half).terms.at("cell"), 0.5);
  EXPECT_EQ(plain->judge(p, "?").terms.at("no_answer"), 1);
  const auto shaped = tasks::make(core::Json{
      {"name", "logic_grid"}, {"answer_style", "lines"}, {"cell_weight", 0.5}, {"format_weight", 0.125}});
  EXPECT_EQ(shaped->judge(p, right).reward, 1.625);
  EXPECT_EQ(shaped->judge(p, half).reward, 0.375);
  p.reference = "broken";
  EXPECT_EQ(plain->judge(p, right).reward, 0);
}

}  // namespace
}  // namespace pan
