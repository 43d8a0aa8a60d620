// Seeded puzzles with a proof: the solution is the only one, and no clue can be left out.
//
//   core::rng::Stream stream({seed, core::rng::Purpose::kTask, index, 0});
//   Puzzle p = generate({4, 4}, stream, {});
//
// Rules, each of which every puzzle keeps:
//   * exactly one solution; dropping any clue lets in another one;
//   * kinds: at least 3 different ones; 2 for size 2x2, where no minimal puzzle has more than two clues;
//   * clues: with three houses or more at least half as many as cells, since puzzles with fewer repeat
//     (3x3: of 1,000, 24 are others with new names without this rule, 3 with it);
//   * direct clues (found_at): at most 15 % of the clues from 9 cells up (3x3, 2x5, 5x2, ...), below that
//     at most one.
#pragma once

#include "core/rng.h"
#include "tasks/logic_grid/puzzle.h"

namespace pan::tasks::logic_grid {

// Which of two disjoint halves of all puzzles one is drawn from, decided by the canonical form, so that no
// puzzle of one side equals one of the other up to renaming. kEval takes 1 in 8 forms. Every size has some:
// 2x2 has 38 forms, 4 of them kEval; 2x3 197 and 26; 3x2 and 2x4 thousands; from 3x3 up they do not run out.
enum class Side { kAny, kTrain, kEval };

struct GenerateOptions {
  Side side = Side::kAny;
  bool direct_deduction = false;  // solved by propagation alone, no supposing
};

Puzzle generate(Shape shape, core::rng::Stream& stream, const GenerateOptions& options);

int least_kinds(Shape shape);
int least_clues(Shape shape);
// Largest number of found_at clues among `num_clues`.
int most_direct(Shape shape, int num_clues);

}  // namespace pan::tasks::logic_grid
