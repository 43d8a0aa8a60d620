#include "tasks/logic_grid/solver.h"

#include <algorithm>
#include <bit>

namespace pan::tasks::logic_grid {

Relation relation_of(const Clue& clue, int houses, bool expected) {
  Relation r;
  r.a = clue.a;
  r.b = clue.b;
  r.unary = is_unary(clue.kind);
  Assignment where{};
  for (int ha = 0; ha < houses; ++ha) {
    for (int hb = 0; hb < houses; ++hb) {
      where[clue.a] = static_cast<uint8_t>(ha);
      if (!r.unary) where[clue.b] = static_cast<uint8_t>(hb);
      if (holds(clue, where) != expected) continue;
      if (r.unary) {
        r.allowed_a[0] |= static_cast<uint8_t>(1u << ha);
      } else {
        r.allowed_b[static_cast<size_t>(ha)] |= static_cast<uint8_t>(1u << hb);
        r.allowed_a[static_cast<size_t>(hb)] |= static_cast<uint8_t>(1u << ha);
      }
    }
  }
  return r;
}

bool revise(const Relation& r, Domains& domains) {
  uint8_t& a = domains[static_cast<size_t>(r.a)];
  const uint8_t a_before = a;
  if (r.unary) {
    a &= r.allowed_a[0];
    return a != a_before;
  }
  uint8_t& b = domains[static_cast<size_t>(r.b)];
  const uint8_t b_before = b;
  uint8_t reach_a = 0, reach_b = 0;
  for (unsigned m = b; m != 0; m &= m - 1) reach_a |= r.allowed_a[static_cast<size_t>(std::countr_zero(m))];
  a &= reach_a;
  for (unsigned m = a; m != 0; m &= m - 1) reach_b |= r.allowed_b[static_cast<size_t>(std::countr_zero(m))];
  b &= reach_b;
  return a != a_before || b != b_before;
}

Domains Solver::all_open() const {
  Domains d{};
  std::fill_n(d.begin(), shape_.entities(), static_cast<uint8_t>((1u << shape_.houses) - 1));
  return d;
}

// Values of one attribute live in different houses: a placed value closes its house to the others, and a
// house that is open to one value only is that value's.
bool Solver::spread_attributes(Domains& d, bool& changed) const {
  const int n = shape_.houses;
  for (int first = 0; first < shape_.entities(); first += n) {
    unsigned once = 0, twice = 0;
    for (int e = first; e < first + n; ++e) {
      const unsigned m = d[static_cast<size_t>(e)];
      if (m == 0) return false;
      twice |= once & m;
      once |= m;
    }
    if (once != (1u << n) - 1) return false;  // a house without a value
    const unsigned only = once & ~twice;
    for (int e = first; e < first + n; ++e) {
      uint8_t& m = d[static_cast<size_t>(e)];
      const unsigned own = m & only;
      if (std::popcount(own) > 1) return false;
      if (own != 0 && m != own) {
        m = static_cast<uint8_t>(own);
        changed = true;
      }
      if (!std::has_single_bit(static_cast<unsigned>(m))) continue;
      for (int other = first; other < first + n; ++other) {
        uint8_t& o = d[static_cast<size_t>(other)];
        if (other == e || (o & m) == 0) continue;
        o = static_cast<uint8_t>(o & ~m);
        if (o == 0) return false;
        changed = true;
      }
    }
  }
  return true;
}

bool Solver::propagate(Domains& d) const {
  for (bool changed = true; changed;) {
    changed = false;
    for (const Relation& r : relations_) {
      if (!revise(r, d)) continue;
      if (d[static_cast<size_t>(r.a)] == 0 || (!r.unary && d[static_cast<size_t>(r.b)] == 0)) return false;
      changed = true;
    }
    if (!spread_attributes(d, changed)) return false;
  }
  return true;
}

void Solver::search(Domains d, size_t limit, core::rng::Stream* stream,
                    std::vector<Assignment>& found) const {
  if (!propagate(d)) return;
  int best = -1, best_count = kMaxSide + 1;
  for (int e = 0; e < shape_.entities(); ++e) {
    const int count = std::popcount(static_cast<unsigned>(d[static_cast<size_t>(e)]));
    if (count > 1 && count < best_count) best = e, best_count = count;
  }
  if (best < 0) {
    Assignment solution{};
    for (int e = 0; e < shape_.entities(); ++e)
      solution[static_cast<size_t>(e)] =
          static_cast<uint8_t>(std::countr_zero(static_cast<unsigned>(d[static_cast<size_t>(e)])));
    found.push_back(solution);
    return;
  }
  std::vector<int> houses;
  for (unsigned m = d[static_cast<size_t>(best)]; m != 0; m &= m - 1) houses.push_back(std::countr_zero(m));
  if (stream != nullptr) stream->shuffle(houses);
  for (int h : houses) {
    if (found.size() >= limit) return;
    Domains next = d;
    next[static_cast<size_t>(best)] = static_cast<uint8_t>(1u << h);
    search(next, limit, stream, found);
  }
}

std::vector<Assignment> Solver::solve(size_t limit, core::rng::Stream* stream) const {
  std::vector<Assignment> found;
  if (limit > 0) search(all_open(), limit, stream, found);
  return found;
}

bool is_unique(const Puzzle& puzzle) {
  Solver solver(puzzle.shape);
  for (const Clue& clue : puzzle.clues) solver.add(clue);
  const auto found = solver.solve(2);
  return found.size() == 1 && found[0] == puzzle.solution;
}

bool is_needed(const Puzzle& puzzle, size_t i) {
  // The clue is broken by some arrangement that keeps all the others: exactly what dropping it would let in.
  Solver solver(puzzle.shape);
  for (size_t j = 0; j < puzzle.clues.size(); ++j) {
    if (j == i) {
      solver.add_opposite(puzzle.clues[j]);
    } else {
      solver.add(puzzle.clues[j]);
    }
  }
  return !solver.solve(1).empty();
}

}  // namespace pan::tasks::logic_grid
