#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/json.h"
#include "support/support.h"
#include "tasks/logic_grid/explain.h"
#include "tasks/logic_grid/file.h"
#include "tasks/logic_grid/generator.h"
#include "tasks/logic_grid/solver.h"
#include "tasks_support.h"

namespace pan {
namespace {

using namespace tasks::logic_grid;
using core::Json;

// A puzzle as its file row tells it, judged by trying every arrangement: nothing of the solver or of `holds`
// is used.
class BruteForce {
 public:
  explicit BruteForce(const Json& row) : clues_(row["clues"]) {
    houses_ = row["solution"]["rows"].size();
    const size_t attributes = row["solution"]["header"].size() - 1;
    for (size_t a = 0; a < attributes; ++a)
      for (size_t h = 0; h < houses_; ++h) {
        const std::string word = row["solution"]["rows"][h][a + 1];
        index_[word] = static_cast<int>(a * houses_ + h);
        truth_.push_back(static_cast<int>(h));
      }
    attributes_ = attributes;
  }

  // Arrangements that keep all clues but `without` (-1: all clues).
  int count(int without, bool* truth_found = nullptr) const {
    int found = 0;
    std::vector<int> where(truth_.size());
    walk(0, where, without, found, truth_found);
    return found;
  }
  int num_clues() const { return static_cast<int>(clues_.size()); }

 private:
  void walk(size_t attribute, std::vector<int>& where, int without, int& found, bool* truth_found) const {
    if (attribute == attributes_) {
      for (int i = 0; i < num_clues(); ++i)
        if (i != without && !true_in(clues_[static_cast<size_t>(i)], where)) return;
      ++found;
      if (truth_found != nullptr && where == truth_) *truth_found = true;
      return;
    }
    std::vector<int> order(houses_);
    for (size_t h = 0; h < houses_; ++h) order[h] = static_cast<int>(h);
    do {
      for (size_t v = 0; v < houses_; ++v) where[attribute * houses_ + v] = order[v];
      walk(attribute + 1, where, without, found, truth_found);
    } while (std::next_permutation(order.begin(), order.end()));
  }

  bool true_in(const Json& clue, const std::vector<int>& where) const {
    const std::string kind = clue["kind"];
    const int a = where[static_cast<size_t>(index_.at(clue["a"]))];
    if (kind == "found_at") return a + 1 == clue["house"].get<int>();
    if (kind == "not_at") return a + 1 != clue["house"].get<int>();
    const int b = where[static_cast<size_t>(index_.at(clue["b"]))];
    if (kind == "same_house") return a == b;
    if (kind == "directly_left") return b - a == 1;
    if (kind == "beside") return std::abs(a - b) == 1;
    if (kind == "left_of") return a < b;
    if (kind == "right_of") return b < a;
    if (kind == "one_between") return std::abs(a - b) - 1 == 1;
    if (kind == "two_between") return std::abs(a - b) - 1 == 2;
    ADD_FAILURE() << "unknown kind " << kind;
    return false;
  }

  Json clues_;
  size_t houses_ = 0, attributes_ = 0;
  std::map<std::string, int> index_;
  std::vector<int> truth_;
};

Json row_of(Shape shape, int64_t seed, int64_t index, tasks::Split split = tasks::Split::kTrain) {
  return Json::parse(file_row({.shape = shape, .seed = seed, .split = split}, index));
}

Puzzle puzzle_of(Shape shape, int64_t index, Side side = Side::kAny) {
  auto stream = stream_of(5, tasks::Split::kTrain, index);
  return generate(shape, stream, {.side = side});
}

TEST(LogicGridGenerator, GivesOneSolutionAndNoSpareClueByExhaustion) {
  for (const Shape shape : {Shape{2, 2}, Shape{2, 3}, Shape{3, 2}, Shape{2, 4}, Shape{3, 3}}) {
    for (int64_t i = 0; i < 300; ++i) {
      const BruteForce check(row_of(shape, 11, i));
      bool truth_found = false;
      ASSERT_EQ(check.count(-1, &truth_found), 1) << to_string(shape) << " " << i;
      ASSERT_TRUE(truth_found) << to_string(shape) << " " << i;
      for (int c = 0; c < check.num_clues(); ++c)
        ASSERT_GT(check.count(c), 1) << to_string(shape) << " " << i << " clue " << c;
    }
  }
}

TEST(LogicGridGenerator, KeepsItsRulesAtEverySize) {
  for (int houses = 2; houses <= 6; ++houses) {
    for (int attributes = 2; attributes <= 6; ++attributes) {
      const Shape shape{houses, attributes};
      for (int64_t i = 0; i < 6; ++i) {
        const Json row = row_of(shape, 3, i);
        std::map<std::string, int> kinds;
        for (const auto& clue : row["clues"]) ++kinds[clue["kind"]];
        const double clues = static_cast<double>(row["clues"].size());
        EXPECT_GE(kinds.size(), houses * attributes == 4 ? 2u : 3u) << to_string(shape);
        if (houses * attributes >= 9) {
          EXPECT_LE(kinds["found_at"], 0.15 * clues) << to_string(shape);
        } else {
          EXPECT_LE(kinds["found_at"], 1) << to_string(shape);
        }
      }
      const Puzzle p = puzzle_of(shape, 1);
      EXPECT_TRUE(is_unique(p)) << to_string(shape);
      for (size_t c = 0; c < p.clues.size(); ++c) EXPECT_TRUE(is_needed(p, c)) << to_string(shape);
    }
  }
}

TEST(LogicGridGenerator, UsesAllNineKinds) {
  std::set<std::string> kinds;
  for (int64_t i = 0; i < 60; ++i) {
    const Json row = row_of({5, 4}, 2, i);
    for (const auto& clue : row["clues"]) kinds.insert(clue["kind"].get<std::string>());
  }
  EXPECT_EQ(kinds.size(), 9u);
}

TEST(LogicGridGenerator, RarelyRepeatsItself) {
  for (const Shape shape : {Shape{2, 2}, Shape{2, 3}, Shape{3, 2}, Shape{3, 3}, Shape{4, 4}}) {
    std::set<std::string> texts;
    for (int64_t i = 0; i < 1000; ++i) texts.insert(row_of(shape, 7, i)["puzzle"].get<std::string>());
    EXPECT_GE(texts.size(), 990u) << to_string(shape);
  }
}

TEST(LogicGridGenerator, RarelyRepeatsItselfUpToRenamingFrom3x3Up) {
  for (const Shape shape : {Shape{3, 3}, Shape{3, 4}, Shape{4, 3}}) {
    std::set<std::vector<uint32_t>> forms;
    for (int64_t i = 0; i < 1000; ++i) forms.insert(canonical_form(puzzle_of(shape, i, Side::kTrain)));
    EXPECT_GE(forms.size(), 990u) << to_string(shape);
  }
}

TEST(LogicGridGenerator, SeparatesTrainAndEvalUpToRenaming) {
  for (const Shape shape : {Shape{2, 2}, Shape{2, 3}, Shape{3, 2}, Shape{3, 3}}) {
    std::set<std::vector<uint32_t>> train, eval;
    for (int64_t i = 0; i < 400; ++i) {
      train.insert(canonical_form(puzzle_of(shape, i, Side::kTrain)));
      eval.insert(canonical_form(puzzle_of(shape, i, Side::kEval)));
    }
    EXPECT_GE(eval.size(), shape.entities() == 4 ? 4u : 20u);
    for (const auto& form : eval) EXPECT_FALSE(train.contains(form)) << to_string(shape);
  }
}

// The same puzzle with its attributes and values shuffled, its clues in another order and said the other way
// round.
Puzzle renamed(const Puzzle& p, core::rng::Stream& stream) {
  const int n = p.shape.houses;
  std::vector<int> attributes;
  for (int a = 0; a < p.shape.attributes; ++a) attributes.push_back(a);
  stream.shuffle(attributes);
  std::vector<uint8_t> to(static_cast<size_t>(p.shape.entities()));
  for (int a = 0; a < p.shape.attributes; ++a) {
    std::vector<int> values;
    for (int v = 0; v < n; ++v) values.push_back(v);
    stream.shuffle(values);
    for (int v = 0; v < n; ++v)
      to[static_cast<size_t>(a * n + v)] =
          static_cast<uint8_t>(attributes[static_cast<size_t>(a)] * n + values[static_cast<size_t>(v)]);
  }
  Puzzle q = p;
  for (size_t e = 0; e < to.size(); ++e) q.solution[to[e]] = p.solution[e];
  for (Clue& c : q.clues) {
    c.a = to[c.a];
    if (is_unary(c.kind)) continue;
    c.b = to[c.b];
    if (is_symmetric(c.kind)) std::swap(c.a, c.b);
    if (c.kind == ClueKind::kLeftOf || c.kind == ClueKind::kRightOf) {
      c.kind = c.kind == ClueKind::kLeftOf ? ClueKind::kRightOf : ClueKind::kLeftOf;
      std::swap(c.a, c.b);
    }
  }
  stream.shuffle(q.clues);
  return q;
}

TEST(LogicGridCanonicalForm, IgnoresNamesAndOrderOnly) {
  core::rng::Stream stream({1, core::rng::Purpose::kTest, 0, 0});
  for (const Shape shape : {Shape{3, 3}, Shape{4, 3}, Shape{3, 5}}) {
    for (int64_t i = 0; i < 20; ++i) {
      const Puzzle p = puzzle_of(shape, i), q = renamed(p, stream);
      EXPECT_TRUE(is_unique(q));
      EXPECT_EQ(canonical_form(p), canonical_form(q));
      Puzzle fewer = p;
      fewer.clues.pop_back();
      EXPECT_NE(canonical_form(p), canonical_form(fewer));
    }
  }
}

TEST(LogicGridSolver, FindsEverySolution) {
  // Three houses, two attributes, one clue: 36 arrangements, 12 of which put two given values together.
  Solver solver({3, 2});
  EXPECT_EQ(solver.solve(100).size(), 36u);
  solver.add({ClueKind::kSameHouse, 0, 3, 0});
  EXPECT_EQ(solver.solve(100).size(), 12u);
  EXPECT_EQ(solver.solve(5).size(), 5u);
  Solver opposite({3, 2});
  opposite.add_opposite({ClueKind::kSameHouse, 0, 3, 0});
  EXPECT_EQ(opposite.solve(100).size(), 24u);
}

TEST(LogicGridSolver, SeesThatCluesContradict) {
  Solver solver({3, 2});
  solver.add({ClueKind::kLeftOf, 0, 1, 0});
  solver.add({ClueKind::kLeftOf, 1, 2, 0});
  solver.add({ClueKind::kLeftOf, 2, 0, 0});
  EXPECT_TRUE(solver.solve(1).empty());
}

// Words with a letter or a digit, as a floor under the number of content tokens.
int content_words(const std::string& line) {
  int words = 0;
  bool inside = false;
  for (char c : line + " ") {
    const bool content = std::isalnum(static_cast<unsigned char>(c)) != 0;
    words += inside && !content ? 1 : 0;
    inside = content;
  }
  return words;
}

TEST(LogicGridExplain, ReasonsInLinesThatCanBeSteps) {
  for (const Shape shape : {Shape{2, 2}, Shape{2, 3}, Shape{3, 2}, Shape{3, 3}, Shape{4, 4}}) {
    for (int64_t i = 0; i < 100; ++i) {
      auto stream = stream_of(9, tasks::Split::kTrain, i);
      const Drawn d = draw(shape, stream, {});
      for (const auto style : {tasks::PromptStyle::kFull, tasks::PromptStyle::kCompact}) {
        const auto reasoning = explain(d.puzzle, d.wording, style);
        EXPECT_GE(reasoning.size(), 3u);
        for (const std::string& line : reasoning) EXPECT_GE(content_words(line), 8) << line;
      }
    }
  }
}

// Every line ends in statements "word is in house 1 or 3", or "word 1 or 3"; none of them may exclude the
// truth, and by the end each value has been put into its house.
void check_statements(tasks::PromptStyle style, const std::string& verb) {
  for (const Shape shape : {Shape{2, 3}, Shape{3, 2}, Shape{3, 3}, Shape{4, 3}, Shape{5, 5}, Shape{6, 6}}) {
    for (int64_t i = 0; i < 20; ++i) {
      auto stream = stream_of(4, tasks::Split::kTrain, i);
      const Drawn d = draw(shape, stream, {});
      std::map<std::string, std::string> last;
      for (const std::string& line : explain(d.puzzle, d.wording, style)) {
        const size_t so = line.rfind(", so "), that = line.rfind(" directly that ");
        ASSERT_TRUE(so != std::string::npos || that != std::string::npos) << line;
        std::string tail = so != std::string::npos ? line.substr(so + 5) : line.substr(that + 15);
        ASSERT_EQ(tail.back(), '.');
        tail.pop_back();
        for (size_t at = 0; at != std::string::npos;) {
          const size_t next = tail.find(" and ", at);
          const std::string statement = tail.substr(at, next == std::string::npos ? next : next - at);
          const size_t end = statement.find(verb);
          ASSERT_NE(end, std::string::npos) << line;
          const std::string word = statement.substr(0, end), houses = statement.substr(end + verb.size());
          last[word] = houses;
          int entity = 0;
          while (value_word(d.puzzle, d.wording, entity) != word) ++entity;
          const std::string house = std::to_string(d.puzzle.solution[static_cast<size_t>(entity)] + 1);
          EXPECT_NE(houses.find(house), std::string::npos) << line;
          at = next == std::string::npos ? next : next + 5;
        }
      }
      for (int e = 0; e < shape.entities(); ++e)
        EXPECT_EQ(last[value_word(d.puzzle, d.wording, e)],
                  std::to_string(d.puzzle.solution[static_cast<size_t>(e)] + 1));
    }
  }
}

TEST(LogicGridExplain, StatesOnlyWhatIsTrueAndPlacesEverything) {
  check_statements(tasks::PromptStyle::kCompact, " ");
  check_statements(tasks::PromptStyle::kFull, " is in house ");
}

TEST(LogicGridExplain, NeedsNoSupposingWhereThatIsAskedFor) {
  for (int64_t i = 0; i < 50; ++i) {
    auto stream = stream_of(6, tasks::Split::kTrain, i);
    const Drawn d = draw({3, 3}, stream, {.generate = {.direct_deduction = true}});
    for (const std::string& line : explain(d.puzzle, d.wording, tasks::PromptStyle::kCompact))
      EXPECT_NE(line.substr(0, 3), "If ") << line;
  }
}

TEST(LogicGridFile, RowsAreTheSameEverywhere) {
  const auto rows = testing::json_lines(testing::fixture("tasks/grids.jsonl"));
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(row_of({3, 3}, 7, static_cast<int64_t>(i)), rows[i]) << i;
}

}  // namespace
}  // namespace pan
