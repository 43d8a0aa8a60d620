#include "tasks/logic_grid/text.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "tasks/logic_grid/explain.h"

namespace pan::tasks::logic_grid {
namespace {

using core::Json;

struct VocabularyAttribute {
  const char* name;
  const char* before;  // the person, around the value
  const char* after;
  std::array<const char*, kVocabularyValues> values;
};

// No word occurs twice, so that a value needs no attribute beside it.
constexpr std::array<VocabularyAttribute, kVocabularyAttributes> kVocabulary = {{
    {"Name", "", "", {"Ann", "Bob", "Dan", "Eve", "Kim", "Leo", "Max", "Zoe"}},
    {"Drink",
     "the person who drinks ",
     "",
     {"tea", "milk", "juice", "water", "cocoa", "soda", "coffee", "cider"}},
    {"Pet", "the keeper of the ", "", {"dog", "cat", "bird", "fish", "horse", "rabbit", "turtle", "hamster"}},
    {"Color",
     "the person who likes ",
     " best",
     {"red", "blue", "green", "white", "black", "pink", "gray", "purple"}},
    {"Food",
     "the person who eats ",
     "",
     {"rice", "soup", "pizza", "bread", "pasta", "salad", "stew", "tacos"}},
    {"Sport",
     "the person who does ",
     "",
     {"golf", "tennis", "rugby", "judo", "skiing", "rowing", "hockey", "boxing"}},
    {"Hobby",
     "the person whose hobby is ",
     "",
     {"painting", "reading", "gardening", "cooking", "knitting", "pottery", "singing", "chess"}},
    {"Flower",
     "the person who grows the ",
     "",
     {"rose", "tulip", "lily", "daisy", "iris", "orchid", "lotus", "poppy"}},
    {"Job", "the ", "", {"doctor", "teacher", "farmer", "baker", "pilot", "nurse", "lawyer", "driver"}},
    {"Fruit",
     "the person with the ",
     " tree",
     {"apple", "pear", "plum", "mango", "cherry", "fig", "lemon", "peach"}},
    {"Music",
     "the person who listens to ",
     "",
     {"jazz", "rock", "opera", "folk", "disco", "soul", "reggae", "salsa"}},
    {"Vehicle", "the owner of the ", "", {"car", "bike", "van", "truck", "boat", "tram", "scooter", "sled"}},
}};

const VocabularyAttribute& attribute_of(const Wording& w, int attribute) {
  return kVocabulary[static_cast<size_t>(w.attributes[static_cast<size_t>(attribute)])];
}

std::string capitalised(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

// The person behind a value: "the person who drinks tea"; in the compact style the bare word.
std::string phrase(const Puzzle& p, const Wording& w, int entity, PromptStyle style) {
  const std::string word = value_word(p, w, entity);
  if (style == PromptStyle::kCompact) return word;
  const VocabularyAttribute& a = attribute_of(w, entity / p.shape.houses);
  return a.before + word + a.after;
}

std::string full_sentence(const Clue& clue, const std::string& a, const std::string& b,
                          const std::string& house) {
  switch (clue.kind) {
    case ClueKind::kFoundAt:
      return a + " is in house " + house;
    case ClueKind::kNotAt:
      return a + " is not in house " + house;
    case ClueKind::kSameHouse:
      return a + " is " + b;
    case ClueKind::kDirectlyLeft:
      return a + " lives directly to the left of " + b;
    case ClueKind::kBeside:
      return a + " and " + b + " live next to each other";
    case ClueKind::kLeftOf:
      return a + " lives somewhere to the left of " + b;
    case ClueKind::kRightOf:
      return a + " lives somewhere to the right of " + b;
    case ClueKind::kOneBetween:
      return "exactly one house stands between " + a + " and " + b;
    case ClueKind::kTwoBetween:
      return "exactly two houses stand between " + a + " and " + b;
  }
  return "";
}

std::string compact_sentence(const Clue& clue, const std::string& a, const std::string& b,
                             const std::string& house) {
  switch (clue.kind) {
    case ClueKind::kFoundAt:
      return a + " is in house " + house;
    case ClueKind::kNotAt:
      return a + " is not in house " + house;
    case ClueKind::kSameHouse:
      return a + " is with " + b;
    case ClueKind::kDirectlyLeft:
      return a + " is just left of " + b;
    case ClueKind::kBeside:
      return a + " is next to " + b;
    case ClueKind::kLeftOf:
      return a + " is left of " + b;
    case ClueKind::kRightOf:
      return a + " is right of " + b;
    case ClueKind::kOneBetween:
      return a + " is two houses from " + b;
    case ClueKind::kTwoBetween:
      return a + " is three houses from " + b;
  }
  return "";
}

Json grid_json(const SolutionTable& table, bool blank) {
  Json houses = Json::object();
  for (size_t h = 0; h < table.rows.size(); ++h) {
    Json house = Json::object();
    for (size_t a = 0; a < table.attributes.size(); ++a)
      house[table.attributes[a]] = blank ? "___" : table.rows[h][a];
    houses["House " + std::to_string(h + 1)] = house;
  }
  return houses;
}

std::string grid_lines(const SolutionTable& table, bool blank) {
  std::string out;
  for (size_t h = 0; h < table.rows.size(); ++h) {
    out += (h == 0 ? "House " : "\nHouse ") + std::to_string(h + 1) + ":";
    for (size_t a = 0; a < table.attributes.size(); ++a)
      out += (a == 0 ? " " : ", ") + table.attributes[a] + "=" + (blank ? "___" : table.rows[h][a]);
  }
  return out;
}

// The solved example of the full prompt.
struct Example {
  Puzzle puzzle;
  Wording wording;
};
const Example& example() {
  static const Example e = [] {
    Example x;
    x.puzzle.shape = {3, 2};
    x.puzzle.solution = {1, 0, 2, 2, 1, 0};                // Kim 2, Max 1, Zoe 3; juice 3, milk 2, cocoa 1
    x.puzzle.clues = {{ClueKind::kSameHouse, 4, 0, 0},     // milk: Kim
                      {ClueKind::kDirectlyLeft, 5, 0, 0},  // cocoa just left of Kim
                      {ClueKind::kRightOf, 2, 4, 0}};      // Zoe right of milk
    x.wording = {{0, 1}, {{4, 6, 7}, {2, 1, 4}}};
    return x;
  }();
  return e;
}

std::string how_to_answer(const SolutionTable& table, AnswerStyle style, Prompting prompting) {
  if (prompting == Prompting::kDirect && style == AnswerStyle::kLines) {
    return "Give the solution alone, without any reasoning, one line per house, in exactly this form, with "
           "every ___ filled in:\n\n" +
           grid_lines(table, true) + "\n";
  }
  if (prompting == Prompting::kDirect) {
    return "Answer with the solution alone, without any reasoning: one JSON object of exactly this form, "
           "with "
           "every ___ filled in:\n\n" +
           core::dump_json(Json{{"solution", grid_json(table, true)}}, 2) + "\n";
  }
  if (style == AnswerStyle::kLines) {
    return "Reason in short lines, one deduction per line. Then give the whole solution, one line per house, "
           "in exactly "
           "this form, with every ___ filled in:\n\n" +
           grid_lines(table, true) + "\n";
  }
  const Json form = {{"reasoning", "___"}, {"solution", grid_json(table, true)}};
  return "Answer with one JSON object of exactly this form, with every ___ filled in, the reasoning "
         "first:\n\n" +
         core::dump_json(form, 2) + "\n";
}

SolvedPuzzle solved_example(AnswerStyle style, Prompting prompting) {
  const Example& e = example();
  const SolutionTable table = table_of(e.puzzle, e.wording);
  return {puzzle_text(e.puzzle, e.wording, PromptStyle::kFull),
          prompting == Prompting::kDirect
              ? bare_answer(table, style)
              : answer_text(explain(e.puzzle, e.wording, PromptStyle::kFull), table, style)};
}

}  // namespace

Wording draw_wording(Shape shape, const Pools& pools, core::rng::Stream& stream) {
  Wording w;
  std::vector<int> rest;
  for (int a = 1; a < pools.attributes; ++a) rest.push_back(a);
  stream.shuffle(rest);
  w.attributes.assign(rest.begin(), rest.begin() + shape.attributes - 1);
  std::sort(w.attributes.begin(), w.attributes.end());
  w.attributes.insert(w.attributes.begin(), 0);
  for (int a = 0; a < shape.attributes; ++a) {
    std::vector<int> values;
    for (int v = 0; v < pools.values; ++v) values.push_back(v);
    stream.shuffle(values);
    values.resize(static_cast<size_t>(shape.houses));
    w.values.push_back(values);
  }
  return w;
}

std::string attribute_word(const Puzzle&, const Wording& w, int attribute) {
  return attribute_of(w, attribute).name;
}

std::string value_word(const Puzzle& p, const Wording& w, int entity) {
  const int attribute = entity / p.shape.houses, value = entity % p.shape.houses;
  const int word = w.values[static_cast<size_t>(attribute)][static_cast<size_t>(value)];
  return attribute_of(w, attribute).values[static_cast<size_t>(word)];
}

SolutionTable table_of(const Puzzle& p, const Wording& w) {
  SolutionTable table;
  table.rows.assign(static_cast<size_t>(p.shape.houses), {});
  for (auto& row : table.rows) row.resize(static_cast<size_t>(p.shape.attributes));
  for (int a = 0; a < p.shape.attributes; ++a) table.attributes.push_back(attribute_word(p, w, a));
  for (int e = 0; e < p.shape.entities(); ++e)
    table.rows[p.solution[static_cast<size_t>(e)]][static_cast<size_t>(e / p.shape.houses)] =
        value_word(p, w, e);
  return table;
}

std::string clue_text(const Clue& clue, const Puzzle& p, const Wording& w, PromptStyle style) {
  const std::string a = phrase(p, w, clue.a, style), house = std::to_string(clue.house + 1);
  const std::string b = is_unary(clue.kind) ? "" : phrase(p, w, clue.b, style);
  if (style == PromptStyle::kCompact) return compact_sentence(clue, a, b, house) + ".";
  return capitalised(full_sentence(clue, a, b, house)) + ".";
}

std::string puzzle_text(const Puzzle& p, const Wording& w, PromptStyle style) {
  const bool full = style == PromptStyle::kFull;
  const std::string houses = std::to_string(p.shape.houses);
  std::string out =
      full ? "A street has " + houses + " houses, numbered 1 to " + houses +
                 " from left to right, with one person living in each. For every attribute below, each "
                 "value belongs to exactly one house.\n"
           : houses + " houses\n";
  for (int a = 0; a < p.shape.attributes; ++a) {
    out += (full ? " - " : "") + attribute_word(p, w, a) + ": ";
    for (int v = 0; v < p.shape.houses; ++v) {
      const std::string word = value_word(p, w, a * p.shape.houses + v);
      out += (v == 0 ? "" : ", ") + (full ? "`" + word + "`" : word);
    }
    out += "\n";
  }
  if (full) out += "\n## Clues\n";
  for (size_t i = 0; i < p.clues.size(); ++i)
    out += (full ? std::to_string(i + 1) + ". " : "Clue " + std::to_string(i + 1) + ": ") +
           clue_text(p.clues[i], p, w, style) + "\n";
  return out;
}

std::string prompt_text(const std::string& puzzle, const SolutionTable& table, PromptStyle prompt_style,
                        AnswerStyle answer_style, const Asking& asking) {
  const auto closed = [](const std::string& text) { return text.ends_with('\n') ? text : text + "\n"; };
  std::string out;
  if (prompt_style == PromptStyle::kCompact) {
    const std::string cue = asking.prompting == Prompting::kDirect ? "Answer:\n" : "Solution:\n";
    for (const SolvedPuzzle& s : asking.examples) out += closed(s.puzzle) + cue + s.answer + "\n\n";
    return out + closed(puzzle) + cue;
  }
  std::vector<SolvedPuzzle> examples = asking.examples;
  if (examples.empty()) examples = {solved_example(answer_style, asking.prompting)};
  for (const SolvedPuzzle& s : examples)
    out += "# Solved example\n\n" + closed(s.puzzle) + "\n## Answer\n\n" + s.answer + "\n\n";
  return out + "# Puzzle to solve\n\n" + closed(puzzle) + "\n# How to answer\n\n" +
         how_to_answer(table, answer_style, asking.prompting);
}

std::string bare_answer(const SolutionTable& table, AnswerStyle style) {
  if (style == AnswerStyle::kLines) return grid_lines(table, false);
  return core::dump_json(Json{{"solution", grid_json(table, false)}}, 2);
}

std::string answer_text(const std::vector<std::string>& reasoning, const SolutionTable& table,
                        AnswerStyle style) {
  std::string lines;
  for (const std::string& line : reasoning) lines += line + "\n";
  if (style == AnswerStyle::kLines) return lines + grid_lines(table, false);
  if (!lines.empty()) lines.pop_back();
  return core::dump_json(Json{{"reasoning", lines}, {"solution", grid_json(table, false)}}, 2);
}

}  // namespace pan::tasks::logic_grid
