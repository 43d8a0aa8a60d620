// Words for puzzles: attribute names and values, clue sentences, puzzle text, prompts.
//
//   Wording w = draw_wording(puzzle.shape, {12, 8}, stream);
//   std::string text = prompt_text(puzzle_text(puzzle, w, PromptStyle::kFull), table_of(puzzle, w), ...);
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/rng.h"
#include "tasks/logic_grid/puzzle.h"
#include "tasks/tasks_config.h"

namespace pan::tasks::logic_grid {

inline constexpr int kVocabularyAttributes = 12;
inline constexpr int kVocabularyValues = 8;

struct Pools {
  int attributes = kVocabularyAttributes;
  int values = kVocabularyValues;
};

// Which words a puzzle uses: indices into the vocabulary. Attribute 0 is always Name.
struct Wording {
  std::vector<int> attributes;
  std::vector<std::vector<int>> values;  // [attribute][value]
};
Wording draw_wording(Shape shape, const Pools& pools, core::rng::Stream& stream);

// The solution as ZebraLogic writes it: the header without "House", and one row of values per house.
struct SolutionTable {
  std::vector<std::string> attributes;
  std::vector<std::vector<std::string>> rows;
};
SolutionTable table_of(const Puzzle& puzzle, const Wording& wording);

std::string attribute_word(const Puzzle& puzzle, const Wording& wording, int attribute);  // "Drink"
std::string value_word(const Puzzle& puzzle, const Wording& wording, int entity);         // "tea"
// A sentence that ends in a full stop: "The person who drinks tea is not in house 2." or "tea is not in
// house 2."
std::string clue_text(const Clue& clue, const Puzzle& puzzle, const Wording& wording, PromptStyle style);

// Houses, attributes with their values, numbered clues.
std::string puzzle_text(const Puzzle& puzzle, const Wording& wording, PromptStyle style);

struct SolvedPuzzle {
  std::string puzzle, answer;
};

// How a puzzle is asked beyond its own text.
struct Asking {
  Prompting prompting = Prompting::kCot;
  std::vector<SolvedPuzzle> examples = {};
};

// The user's turn around a puzzle text. The full style puts a solved example in front (or those of `asking`)
// and says how to answer.
std::string prompt_text(const std::string& puzzle_text, const SolutionTable& table, PromptStyle prompt_style,
                        AnswerStyle answer_style, const Asking& asking = {});

// The solution alone.
std::string bare_answer(const SolutionTable& table, AnswerStyle style);

// The answer in the style: `reasoning` lines, then the grid.
std::string answer_text(const std::vector<std::string>& reasoning, const SolutionTable& table,
                        AnswerStyle style);

}  // namespace pan::tasks::logic_grid
