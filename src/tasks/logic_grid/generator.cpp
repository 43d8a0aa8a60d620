#include "tasks/logic_grid/generator.h"

#include <algorithm>
#include <array>
#include <bit>

#include "tasks/logic_grid/solver.h"

namespace pan::tasks::logic_grid {
namespace {

using core::rng::Stream;

// How often each kind is tried. found_at tells most and is held down; not_at tells least and makes long
// puzzles.
constexpr std::array<double, kNumClueKinds> kKindWeight = {0.5, 0.7, 2.0, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2};

Assignment random_solution(Shape shape, Stream& stream) {
  Assignment solution{};
  for (int a = 0; a < shape.attributes; ++a) {
    std::vector<uint8_t> houses;
    for (int h = 0; h < shape.houses; ++h) houses.push_back(static_cast<uint8_t>(h));
    stream.shuffle(houses);
    std::copy(houses.begin(), houses.end(), solution.begin() + a * shape.houses);
  }
  return solution;
}

// All clues of one kind that hold in the solution and fail in `other`.
std::vector<Clue> telling_clues(ClueKind kind, Shape shape, const Assignment& solution,
                                const Assignment& other) {
  std::vector<Clue> out;
  const auto consider = [&](const Clue& c) {
    if (holds(c, solution) && !holds(c, other)) out.push_back(c);
  };
  for (int a = 0; a < shape.entities(); ++a) {
    if (is_unary(kind)) {
      for (int h = 0; h < shape.houses; ++h)
        consider({kind, static_cast<uint8_t>(a), 0, static_cast<uint8_t>(h)});
      continue;
    }
    for (int b = 0; b < shape.entities(); ++b) {
      const bool same_attribute = a / shape.houses == b / shape.houses;
      if (a == b || (kind == ClueKind::kSameHouse && same_attribute)) continue;
      consider({kind, static_cast<uint8_t>(a), static_cast<uint8_t>(b), 0});
    }
  }
  return out;
}

// A clue that holds in the solution and excludes `other`: kind by weight, then uniform. There always is one,
// because some entity lives elsewhere in `other` and not_at says so.
Clue draw_clue(Shape shape, const Assignment& solution, const Assignment& other,
               std::array<double, kNumClueKinds> weight, Stream& stream) {
  for (;;) {
    double total = 0;
    for (double w : weight) total += w;
    double u = stream.uniform() * total;
    int kind = 0;
    while (kind + 1 < kNumClueKinds &&
           (weight[static_cast<size_t>(kind)] == 0 || u >= weight[static_cast<size_t>(kind)]))
      u -= weight[static_cast<size_t>(kind++)];
    const auto clues = telling_clues(static_cast<ClueKind>(kind), shape, solution, other);
    if (!clues.empty()) return clues[stream.below(clues.size())];
    weight[static_cast<size_t>(kind)] = 0;
  }
}

// Adds clues until only the solution is left: each one excludes an arrangement that the clues so far allow.
void add_until_unique(Puzzle& p, bool with_direct, Stream& stream) {
  auto weight = kKindWeight;
  if (!with_direct) weight[static_cast<size_t>(ClueKind::kFoundAt)] = 0;
  Solver solver(p.shape);
  for (;;) {
    const auto found = solver.solve(2, &stream);
    const Assignment* other = nullptr;
    for (const Assignment& s : found)
      if (s != p.solution) other = &s;
    if (other == nullptr) return;
    const Clue clue = draw_clue(p.shape, p.solution, *other, weight, stream);
    p.clues.push_back(clue);
    solver.add(clue);
  }
}

// Drops clues that the others imply, the direct ones first, until each one is needed.
void make_minimal(Puzzle& p, Stream& stream) {
  stream.shuffle(p.clues);
  std::stable_partition(p.clues.begin(), p.clues.end(),
                        [](const Clue& c) { return c.kind != ClueKind::kFoundAt; });
  for (size_t i = p.clues.size(); i-- > 0;) {
    if (!is_needed(p, i)) p.clues.erase(p.clues.begin() + static_cast<std::ptrdiff_t>(i));
  }
  // A clue kept early stays needed when later ones go: fewer clues never imply more.
  stream.shuffle(p.clues);
}

bool keeps_rules(const Puzzle& p) {
  if (static_cast<int>(p.clues.size()) < least_clues(p.shape)) return false;
  std::array<int, kNumClueKinds> count{};
  for (const Clue& c : p.clues) ++count[static_cast<size_t>(c.kind)];
  const auto kinds = std::count_if(count.begin(), count.end(), [](int n) { return n > 0; });
  return kinds >= least_kinds(p.shape) && count[static_cast<size_t>(ClueKind::kFoundAt)] <=
                                              most_direct(p.shape, static_cast<int>(p.clues.size()));
}

bool solved_by_propagation(const Puzzle& p) {
  Solver solver(p.shape);
  for (const Clue& c : p.clues) solver.add(c);
  Domains d = solver.all_open();
  if (!solver.propagate(d)) return false;
  return std::all_of(d.begin(), d.begin() + p.shape.entities(),
                     [](uint8_t m) { return std::has_single_bit(static_cast<unsigned>(m)); });
}

bool on_side(const Puzzle& p, Side side) {
  if (side == Side::kAny) return true;
  return (canonical_hash(p) % 8 == 0) == (side == Side::kEval);
}

}  // namespace

int least_kinds(Shape shape) { return shape == Shape{2, 2} ? 2 : 3; }

int least_clues(Shape shape) { return shape.houses >= 3 ? (shape.entities() + 1) / 2 : 1; }

int most_direct(Shape shape, int num_clues) { return shape.entities() >= 9 ? num_clues * 15 / 100 : 1; }

Puzzle generate(Shape shape, Stream& stream, const GenerateOptions& options) {
  for (;;) {
    Puzzle p;
    p.shape = shape;
    p.solution = random_solution(shape, stream);
    add_until_unique(p, stream.below(2) == 0, stream);
    make_minimal(p, stream);
    if (!keeps_rules(p) || (options.direct_deduction && !solved_by_propagation(p)) ||
        !on_side(p, options.side))
      continue;
    return p;
  }
}

}  // namespace pan::tasks::logic_grid
