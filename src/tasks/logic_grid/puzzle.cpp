#include "tasks/logic_grid/puzzle.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "core/error.h"

namespace pan::tasks::logic_grid {

std::string to_string(Shape shape) {
  return std::to_string(shape.houses) + "x" + std::to_string(shape.attributes);
}

Shape parse_shape(const std::string& text) {
  const auto side = [](char c) { return c >= '2' && c <= '0' + kMaxSide; };
  PAN_CHECK(text.size() == 3 && side(text[0]) && side(text[2]) && (text[1] == 'x' || text[1] == '*'), kConfig,
            "not a puzzle size")
      .expected("houses x attributes, 2 to 6 each, such as 3x4")
      .got("\"" + text.substr(0, 40) + "\"");
  return {text[0] - '0', text[2] - '0'};
}

const char* name_of(ClueKind kind) {
  static constexpr const char* kNames[kNumClueKinds] = {"found_at",      "not_at",      "same_house",
                                                        "directly_left", "beside",      "left_of",
                                                        "right_of",      "one_between", "two_between"};
  return kNames[static_cast<int>(kind)];
}

bool holds(const Clue& clue, const Assignment& house_of) {
  const int a = house_of[clue.a], b = house_of[clue.b];
  switch (clue.kind) {
    case ClueKind::kFoundAt:
      return a == clue.house;
    case ClueKind::kNotAt:
      return a != clue.house;
    case ClueKind::kSameHouse:
      return a == b;
    case ClueKind::kDirectlyLeft:
      return a + 1 == b;
    case ClueKind::kBeside:
      return std::abs(a - b) == 1;
    case ClueKind::kLeftOf:
      return a < b;
    case ClueKind::kRightOf:
      return a > b;
    case ClueKind::kOneBetween:
      return std::abs(a - b) == 2;
    case ClueKind::kTwoBetween:
      return std::abs(a - b) == 3;
  }
  return false;
}

namespace {

// Bits: kind 4, first entity 6, second entity 6, house 3. An entity is attribute order * 6 + house of the
// solution.
uint32_t encode(const Clue& clue, const Puzzle& p, const std::vector<int>& attribute_order) {
  const auto entity = [&](int e) {
    return static_cast<uint32_t>(attribute_order[static_cast<size_t>(e / p.shape.houses)] * kMaxSide +
                                 p.solution[static_cast<size_t>(e)]);
  };
  ClueKind kind = clue.kind;
  uint32_t a = entity(clue.a), b = is_unary(kind) ? 0 : entity(clue.b);
  if (kind == ClueKind::kRightOf) {
    kind = ClueKind::kLeftOf;
    std::swap(a, b);
  }
  if (is_symmetric(kind) && a > b) std::swap(a, b);
  const uint32_t house = is_unary(kind) ? clue.house : 0u;
  return static_cast<uint32_t>(kind) << 15 | a << 9 | b << 3 | house;
}

}  // namespace

std::vector<uint32_t> canonical_form(const Puzzle& p) {
  std::vector<int> order(static_cast<size_t>(p.shape.attributes));
  std::iota(order.begin(), order.end(), 0);
  std::vector<uint32_t> best, codes(p.clues.size());
  do {
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = encode(p.clues[i], p, order);
    std::sort(codes.begin(), codes.end());
    if (best.empty() || codes < best) best = codes;
  } while (std::next_permutation(order.begin(), order.end()));
  best.insert(best.begin(), static_cast<uint32_t>(p.shape.houses * 8 + p.shape.attributes));
  return best;
}

uint64_t canonical_hash(const Puzzle& p) {
  uint64_t h = 0xCBF29CE484222325ull;  // FNV-1a over words, then a final mix for the low bits
  for (uint32_t word : canonical_form(p)) h = (h ^ word) * 0x100000001B3ull;
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ull;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBull;
  return h ^ (h >> 31);
}

}  // namespace pan::tasks::logic_grid
