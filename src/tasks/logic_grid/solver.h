// Constraint solver of logic grids: one domain of houses (a bit mask) per entity, propagation to a fixpoint,
// search on the smallest domain.
//
//   Solver s(shape);  for (const Clue& c : clues) s.add(c);
//   bool unique = s.solve(2).size() == 1;
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "tasks/logic_grid/puzzle.h"

namespace pan::tasks::logic_grid {

using Domains = std::array<uint8_t, kMaxSide * kMaxSide>;  // bit h: the entity may live in house h

// Houses that `clue` leaves for each side: allowed_b[h] is the mask of houses of b when a is in h, and the
// reverse. Unary clues restrict a alone, through allowed_a[0].
struct Relation {
  int a = 0, b = 0;
  bool unary = false;
  std::array<uint8_t, kMaxSide> allowed_a{}, allowed_b{};
};
// `holds` = false gives the opposite of the clue.
Relation relation_of(const Clue& clue, int houses, bool holds = true);

// Applies one relation to both domains. Returns whether something was removed.
bool revise(const Relation& relation, Domains& domains);

class Solver {
 public:
  explicit Solver(Shape shape) : shape_(shape) {}
  void add(const Clue& clue) { relations_.push_back(relation_of(clue, shape_.houses)); }
  void add_opposite(const Clue& clue) { relations_.push_back(relation_of(clue, shape_.houses, false)); }

  // Up to `limit` different solutions; with a stream, the search tries houses in random order.
  std::vector<Assignment> solve(size_t limit, core::rng::Stream* stream = nullptr) const;

  // Every house still open for every entity.
  Domains all_open() const;
  // Propagates to a fixpoint; false if some entity has no house left.
  bool propagate(Domains& domains) const;

 private:
  bool spread_attributes(Domains& domains, bool& changed) const;
  void search(Domains domains, size_t limit, core::rng::Stream* stream, std::vector<Assignment>& found) const;

  Shape shape_;
  std::vector<Relation> relations_;
};

// Exactly one solution, and it is `puzzle.solution`.
bool is_unique(const Puzzle& puzzle);
// Without clue i there is another solution.
bool is_needed(const Puzzle& puzzle, size_t i);

}  // namespace pan::tasks::logic_grid
