// A worked solution: the solver's deductions as sentences, one per line, the same every time.
//
//   Clue 2: tea is left of Ann, so tea is in house 1 and Ann is in house 2.
//   Clue 3 says directly that cat is in house 2.
//   Clue 1: cat is right of red, cat is in house 2, so red is in house 1.
//   House 1 already has tea, so milk is in house 2.
//   No other pet can be in house 3, so dog is in house 3.
//   If Ann is in house 1, clue 4 fails, so Ann is in house 2 or 3.
//
// Each line follows from the clues and the lines above it; what it takes from them besides its clue, it says
// again. After them every value has been placed by name. The compact style says "tea 1" for "tea is in house
// 1".
#pragma once

#include <string>
#include <vector>

#include "tasks/logic_grid/puzzle.h"
#include "tasks/logic_grid/text.h"

namespace pan::tasks::logic_grid {

// `puzzle` must have exactly one solution.
std::vector<std::string> explain(const Puzzle& puzzle, const Wording& wording, PromptStyle style);

}  // namespace pan::tasks::logic_grid
