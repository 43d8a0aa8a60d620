// Reading a grid out of an answer and comparing it with the solution.
//
//   ReadGrid g = read_json_answer(text, table.attributes, 3);
//   CellCount c = compare(g, table);
//
// JSON follows ZebraLogic's evaluation: the last complete top-level {...}, found by a stack of braces (braces
// inside strings count), line breaks removed, with a "solution" that is not null; cells are compared in lower
// case without blanks around; a list stands for its first element. Every reader is linear in the text and
// never throws.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tasks/logic_grid/text.h"

namespace pan::tasks::logic_grid {

struct ReadGrid {
  bool answered = false;
  std::vector<std::vector<std::string>> cells;  // [house][attribute], lower case, trimmed; "" = not given
  bool exact = false;                           // every house and every attribute once, and nothing else
};

ReadGrid read_json_answer(std::string_view answer, const std::vector<std::string>& attributes, int houses);

// Lines "House 2: Name=Ann, Drink=tea" (case, blanks and list or emphasis marks in front do not matter).
// Lines that give no known attribute are not answers; of several lines for a house the last one counts.
ReadGrid read_lines_answer(std::string_view answer, const std::vector<std::string>& attributes, int houses);

struct CellCount {
  int right = 0, all = 0;
};
CellCount compare(const ReadGrid& grid, const SolutionTable& truth);

// One text for equal grids, for votes: "ann|tea;bob|milk". Empty if not answered.
std::string vote_of(const ReadGrid& grid);

// {"header": ["House", "Name", ...], "rows": [["1", "Ann", ...], ...]} and back.
std::string solution_json(const SolutionTable& table);
// Error: kData naming what is wrong with the JSON text.
SolutionTable parse_solution(const std::string& json, const std::string& source);

// The last complete top-level {...}, or empty; nesting deeper than 64 counts as no object.
std::string_view last_complete_object(std::string_view text);

}  // namespace pan::tasks::logic_grid
