// The abstract puzzle: houses in a row, attributes whose values are spread over the houses, clues. No words
// here.
//
//   Puzzle p = generate({3, 3}, stream);
//   bool same_up_to_renaming = canonical_form(p) == canonical_form(q);
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace pan::tasks::logic_grid {

inline constexpr int kMaxSide = 6;  // houses and attributes, each 2..6

struct Shape {
  int houses = 0;
  int attributes = 0;
  int entities() const { return houses * attributes; }
  bool operator==(const Shape&) const = default;
};
// "3x4", and the reverse, which also takes ZebraLogic's "3*4". Error: kConfig for anything else than 2..6
// by 2..6.
std::string to_string(Shape shape);
Shape parse_shape(const std::string& text);

// The relations of ZebraLogic-like puzzles. Positions grow from left to right.
enum class ClueKind : uint8_t {
  kFoundAt,       // a is in `house`
  kNotAt,         // a is not in `house`
  kSameHouse,     // a and b, of different attributes, share a house
  kDirectlyLeft,  // a is one house left of b
  kBeside,        // a and b are neighbours
  kLeftOf,        // a is somewhere left of b
  kRightOf,       // a is somewhere right of b
  kOneBetween,    // two apart
  kTwoBetween,    // three apart
};
inline constexpr int kNumClueKinds = 9;
const char* name_of(ClueKind kind);

// A value of an attribute is an entity: attribute * houses + value index.
struct Clue {
  ClueKind kind = ClueKind::kFoundAt;
  uint8_t a = 0;
  uint8_t b = 0;      // unused by kFoundAt and kNotAt
  uint8_t house = 0;  // 0-based; kFoundAt and kNotAt only
  bool operator==(const Clue&) const = default;
};
inline bool is_unary(ClueKind k) { return k == ClueKind::kFoundAt || k == ClueKind::kNotAt; }
inline bool is_symmetric(ClueKind k) {
  return k == ClueKind::kSameHouse || k == ClueKind::kBeside || k == ClueKind::kOneBetween ||
         k == ClueKind::kTwoBetween;
}

using Assignment = std::array<uint8_t, kMaxSide * kMaxSide>;  // house of each entity, 0-based

struct Puzzle {
  Shape shape;
  Assignment solution{};
  std::vector<Clue> clues;
};

// Does the clue hold where entities live in `house_of`?
bool holds(const Clue& clue, const Assignment& house_of);

// A form that two puzzles share exactly if one becomes the other by renaming values and attributes (and by
// saying the same clue the other way round). Since the solution is unique, a value can be named by its house,
// so only the M! orders of the attributes have to be tried.
std::vector<uint32_t> canonical_form(const Puzzle& puzzle);
uint64_t canonical_hash(const Puzzle& puzzle);

}  // namespace pan::tasks::logic_grid
