#include "tasks/logic_grid/explain.h"

#include <bit>
#include <cctype>

#include "core/error.h"
#include "tasks/logic_grid/solver.h"

namespace pan::tasks::logic_grid {
namespace {

int count(uint8_t mask) { return std::popcount(static_cast<unsigned>(mask)); }
int only(uint8_t mask) { return std::countr_zero(static_cast<unsigned>(mask)); }

// "2", "1 or 3", "1, 2 or 4"
std::string house_list(uint8_t mask) {
  std::vector<int> houses;
  for (unsigned m = mask; m != 0; m &= m - 1) houses.push_back(std::countr_zero(m) + 1);
  std::string out;
  for (size_t i = 0; i < houses.size(); ++i)
    out += (i == 0 ? "" : i + 1 == houses.size() ? " or " : ", ") + std::to_string(houses[i]);
  return out;
}

class Explainer {
 public:
  Explainer(const Puzzle& puzzle, const Wording& wording, PromptStyle style)
      : p_(puzzle),
        w_(wording),
        style_(style),
        solver_(puzzle.shape),
        open_(solver_.all_open()),
        stated_(open_) {
    for (const Clue& c : p_.clues) {
      solver_.add(c);
      relations_.push_back(relation_of(c, p_.shape.houses));
    }
  }

  std::vector<std::string> run() {
    while (!finished()) {
      if (place_by_attribute() || apply_best_clue() || refute_by_propagation() || refute_by_search())
        continue;
      PAN_CHECK(false, kInternal, "a puzzle without a unique solution was to be explained");
    }
    return std::move(lines_);
  }

 private:
  uint8_t& open(int e) { return open_[static_cast<size_t>(e)]; }
  uint8_t& stated(int e) { return stated_[static_cast<size_t>(e)]; }
  std::string word(int e) const { return value_word(p_, w_, e); }

  bool finished() const {
    for (int e = 0; e < p_.shape.entities(); ++e)
      if (count(stated_[static_cast<size_t>(e)]) != 1) return false;
    return true;
  }

  // "tea is in house 1 or 3"; the compact style says "tea 1 or 3".
  std::string at(int e, uint8_t houses) const {
    return word(e) + (style_ == PromptStyle::kCompact ? " " : " is in house ") + house_list(houses);
  }

  // From then on the reader knows.
  std::string state(int e) {
    stated(e) = open(e);
    return at(e, open(e));
  }

  // Placed values close their houses to the others of the attribute. Said only where that places a value.
  void close_taken_houses() {
    for (int first = 0; first < p_.shape.entities(); first += p_.shape.houses)
      for (int e = first; e < first + p_.shape.houses; ++e)
        for (int other = first; other < first + p_.shape.houses; ++other)
          if (other != e && count(stated(e)) == 1)
            open(other) = static_cast<uint8_t>(open(other) & ~stated(e));
  }

  bool place_by_attribute() {
    close_taken_houses();
    const int n = p_.shape.houses;
    for (int e = 0; e < p_.shape.entities(); ++e) {
      if (count(open(e)) != 1 || count(stated(e)) == 1) continue;
      const int first = e / n * n;
      std::string taken;  // what closed the houses that were open when e was last spoken of
      for (int h = 0; h < n; ++h)
        for (int other = first; other < first + n; ++other)
          if (other != e && stated(other) == 1u << h && (stated(e) & stated(other)) != 0)
            taken += (taken.empty() ? "House " : ", house ") + std::to_string(h + 1) +
                     (taken.empty() ? " already has " : " has ") + word(other);
      lines_.push_back(taken + ", so " + state(e) + ".");
      return true;
    }
    for (int e = 0; e < p_.shape.entities(); ++e) {
      if (count(open(e)) == 1) continue;
      const int first = e / n * n;
      uint8_t others = 0;
      for (int other = first; other < first + n; ++other)
        if (other != e) others |= open(other);
      const uint8_t own = static_cast<uint8_t>(open(e) & ~others);
      if (count(own) != 1) continue;
      open(e) = own;
      std::string attribute = attribute_word(p_, w_, e / n);
      attribute[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(attribute[0])));
      lines_.push_back("No other " + attribute + " can be in house " + std::to_string(only(own) + 1) +
                       ", so " + state(e) + ".");
      return true;
    }
    return false;
  }

  // The clue that places most values, then the one that closes most houses, then the first.
  bool apply_best_clue() {
    int best = -1, best_gain = 0;
    for (size_t i = 0; i < relations_.size(); ++i) {
      Domains d = open_;
      if (!revise(relations_[i], d)) continue;
      const int gain = gain_of(relations_[i].a, d) + (relations_[i].unary ? 0 : gain_of(relations_[i].b, d));
      if (gain > best_gain) best = static_cast<int>(i), best_gain = gain;
    }
    if (best < 0) return false;
    const Relation& r = relations_[static_cast<size_t>(best)];
    const Domains before = open_;
    revise(r, open_);
    // Of two houses only: placing one value is a step, that the other one follows is the next.
    const bool twins = !r.unary && p_.shape.houses == 2 && r.a / 2 == r.b / 2;
    if (twins) open(r.b) = before[static_cast<size_t>(r.b)];
    if (style_ == PromptStyle::kFull && p_.clues[static_cast<size_t>(best)].kind == ClueKind::kFoundAt) {
      lines_.push_back("Clue " + std::to_string(best + 1) + " says directly that " + state(r.a) + ".");
      return true;
    }
    std::string line = "Clue " + std::to_string(best + 1) + ": " +
                       clue_text(p_.clues[static_cast<size_t>(best)], p_, w_, style_);
    line.pop_back();
    if (!r.unary) line += known(r.a, before) + known(r.b, before);
    line += ", so ";
    const bool a_changed = before[static_cast<size_t>(r.a)] != open(r.a);
    if (a_changed) line += state(r.a);
    if (!r.unary && before[static_cast<size_t>(r.b)] != open(r.b))
      line += (a_changed ? " and " : "") + state(r.b);
    lines_.push_back(line + ".");
    return true;
  }

  // ", tea is in house 1": what the clue is read with, said again beside it; "" where nothing is known of e.
  std::string known(int e, const Domains& before) const {
    const uint8_t houses = before[static_cast<size_t>(e)];
    return count(houses) == p_.shape.houses ? "" : ", " + at(e, houses);
  }

  int gain_of(int e, const Domains& after) const {
    const int was = count(open_[static_cast<size_t>(e)]), is = count(after[static_cast<size_t>(e)]);
    return was - is + (was > 1 && is == 1 ? 100 : 0);
  }

  // What is wrong with `d`, or "" where propagation finds nothing. `steps` counts the changes on the way.
  std::string conflict(Domains d, int& steps) const {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < relations_.size(); ++i) {
        const Relation& r = relations_[i];
        if (!revise(r, d)) continue;
        ++steps;
        changed = true;
        if (d[static_cast<size_t>(r.a)] == 0 || (!r.unary && d[static_cast<size_t>(r.b)] == 0))
          return "clue " + std::to_string(i + 1) + " fails";
      }
      for (int e = 0; e < p_.shape.entities(); ++e) {
        if (count(d[static_cast<size_t>(e)]) != 1) continue;
        const int first = e / p_.shape.houses * p_.shape.houses;
        for (int other = first; other < first + p_.shape.houses; ++other) {
          uint8_t& o = d[static_cast<size_t>(other)];
          if (other == e || (o & d[static_cast<size_t>(e)]) == 0) continue;
          o = static_cast<uint8_t>(o & ~d[static_cast<size_t>(e)]);
          ++steps;
          changed = true;
          if (o == 0) return word(other) + " has no house";
        }
      }
    }
    return "";
  }

  void refute(int e, int h, const std::string& reason) {
    open(e) = static_cast<uint8_t>(open(e) & ~(1u << h));
    lines_.push_back("If " + at(e, static_cast<uint8_t>(1u << h)) + ", " + reason + ", so " + state(e) + ".");
  }

  // The supposition that fails after the fewest steps; one that leaves a single house is worth a few steps
  // more.
  bool refute_by_propagation() {
    int best_entity = -1, best_house = 0, best_cost = 0;
    std::string best_reason;
    for (int e = 0; e < p_.shape.entities(); ++e) {
      if (count(open(e)) < 2) continue;
      for (int h = 0; h < p_.shape.houses; ++h) {
        if ((open(e) >> h & 1) == 0) continue;
        Domains d = open_;
        d[static_cast<size_t>(e)] = static_cast<uint8_t>(1u << h);
        int steps = 0;
        const std::string reason = conflict(d, steps);
        const int cost = steps + 4 * count(open(e));
        if (reason.empty() || (best_entity >= 0 && cost >= best_cost)) continue;
        best_entity = e, best_house = h, best_cost = cost, best_reason = reason;
      }
    }
    if (best_entity < 0) return false;
    refute(best_entity, best_house, best_reason);
    return true;
  }

  // Where one supposition at a time does not help: a house that the search has ruled out.
  bool refute_by_search() {
    for (int e = 0; e < p_.shape.entities(); ++e) {
      for (int h = 0; h < p_.shape.houses; ++h) {
        if (count(open(e)) < 2 || (open(e) >> h & 1) == 0 || p_.solution[static_cast<size_t>(e)] == h)
          continue;
        refute(e, h, "the clues cannot all hold");
        return true;
      }
    }
    return false;
  }

  const Puzzle& p_;
  const Wording& w_;
  PromptStyle style_;
  Solver solver_;
  std::vector<Relation> relations_;
  Domains open_;    // what has been worked out
  Domains stated_;  // what the lines have said; open_ is never wider
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> explain(const Puzzle& puzzle, const Wording& wording, PromptStyle style) {
  return Explainer(puzzle, wording, style).run();
}

}  // namespace pan::tasks::logic_grid
