#include "tasks/logic_grid/score.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "tasks/number_text.h"

namespace pan::tasks::logic_grid {
namespace {

using Value = nlohmann::json;  // keys in a tree: an answer with very many keys stays cheap to read

constexpr int kDeepest = 64;

std::string normalised(std::string_view text) {
  std::string out(trimmed(text));
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string cell_text(const Value& value) {
  if (value.is_string()) return normalised(value.get_ref<const std::string&>());
  if (value.is_number()) return value.dump();
  if (value.is_array() && !value.empty() && !value[0].is_array()) return cell_text(value[0]);
  return "";
}

// Bytes that are no UTF-8, which a cut-off or mistaken token leaves behind, become U+FFFD as in a text
// decoder.
std::string with_replaced_bytes(const std::string& text) {
  const std::string quoted = Value(text).dump(-1, ' ', false, Value::error_handler_t::replace);
  return Value::parse(quoted).get<std::string>();
}

ReadGrid empty_grid(size_t attributes, int houses) {
  ReadGrid g;
  g.cells.assign(static_cast<size_t>(houses), std::vector<std::string>(attributes));
  return g;
}

bool too_deep(std::string_view text) {
  int depth = 0;
  for (char c : text) {
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth > kDeepest) return true;
  }
  return false;
}

// One answer line taken apart: "House 2: Name=Ann, Drink=tea".
struct HouseLine {
  int house = 0;  // 1-based; 0 = not such a line
  std::vector<std::pair<std::string, std::string>> pairs;
};

HouseLine read_house_line(std::string_view line) {
  HouseLine out;
  while (!line.empty() &&
         (line.front() == '*' || line.front() == '-' || line.front() == ' ' || line.front() == '\t'))
    line.remove_prefix(1);
  if (normalised(line.substr(0, 6)) != "house") return out;  // "House "
  line.remove_prefix(std::min<size_t>(6, line.size()));
  if (line.size() < 2 || line[0] < '1' || line[0] > '9') return out;
  const int house = line[0] - '0';
  line = trimmed(line.substr(1));
  while (!line.empty() && line.front() == '*') line.remove_prefix(1);
  if (line.empty() || line.front() != ':') return out;
  line.remove_prefix(1);
  while (!line.empty() && line.front() == '*') line.remove_prefix(1);
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find(',', begin), line.size());
    const std::string_view pair = line.substr(begin, end - begin);
    const size_t equals = pair.find('=');
    if (equals != std::string_view::npos)
      out.pairs.emplace_back(normalised(pair.substr(0, equals)), normalised(pair.substr(equals + 1)));
    begin = end + 1;
  }
  if (!out.pairs.empty()) out.house = house;
  return out;
}

}  // namespace

std::string_view last_complete_object(std::string_view text) {
  size_t start = 0, depth = 0;
  std::string_view last;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{' && depth++ == 0) start = i;
    if (text[i] == '}' && depth > 0 && --depth == 0) last = text.substr(start, i + 1 - start);
  }
  return too_deep(last) ? std::string_view{} : last;
}

ReadGrid read_json_answer(std::string_view answer, const std::vector<std::string>& attributes, int houses) {
  ReadGrid g = empty_grid(attributes.size(), houses);
  std::string text(last_complete_object(answer));
  std::erase(text, '\n');
  Value json = Value::parse(text, nullptr, false);
  if (json.is_discarded()) json = Value::parse(with_replaced_bytes(text), nullptr, false);
  if (!json.is_object()) return g;
  const auto solution = json.find("solution");
  if (solution == json.end() || solution->is_null()) return g;
  g.answered = true;
  if (!solution->is_object()) return g;
  g.exact = solution->size() == static_cast<size_t>(houses);
  for (size_t h = 0; h < g.cells.size(); ++h) {
    const auto house = solution->find("House " + std::to_string(h + 1));
    const bool given = house != solution->end() && house->is_object();
    g.exact = g.exact && given && house->size() == attributes.size();
    for (size_t a = 0; given && a < attributes.size(); ++a) {
      const auto cell = house->find(attributes[a]);
      if (cell != house->end()) g.cells[h][a] = cell_text(*cell);
      g.exact = g.exact && !g.cells[h][a].empty();
    }
  }
  return g;
}

ReadGrid read_lines_answer(std::string_view answer, const std::vector<std::string>& attributes, int houses) {
  ReadGrid g = empty_grid(attributes.size(), houses);
  std::vector<std::string> names;
  for (const std::string& a : attributes) names.push_back(normalised(a));
  std::vector<int> lines_of(static_cast<size_t>(houses), 0);
  bool clean = true;
  for (size_t begin = 0; begin < answer.size();) {
    const size_t end = std::min(answer.find('\n', begin), answer.size());
    const HouseLine line = read_house_line(answer.substr(begin, end - begin));
    begin = end + 1;
    if (line.house == 0) continue;
    std::vector<std::string> cells(names.size());
    size_t known = 0;
    for (const auto& [name, value] : line.pairs) {
      const auto it = std::find(names.begin(), names.end(), name);
      if (it == names.end() || value.empty()) continue;
      cells[static_cast<size_t>(it - names.begin())] = value;
      ++known;
    }
    if (known == 0) continue;
    if (line.house > houses) {
      clean = false;
      continue;
    }
    const size_t h = static_cast<size_t>(line.house - 1);
    g.answered = true;
    ++lines_of[h];
    clean = clean && line.pairs.size() == names.size() && std::count(cells.begin(), cells.end(), "") == 0;
    g.cells[h] = std::move(cells);
  }
  g.exact = clean && std::all_of(lines_of.begin(), lines_of.end(), [](int n) { return n == 1; });
  return g;
}

CellCount compare(const ReadGrid& grid, const SolutionTable& truth) {
  CellCount count;
  for (size_t h = 0; h < truth.rows.size(); ++h) {
    for (size_t a = 0; a < truth.rows[h].size(); ++a) {
      ++count.all;
      if (grid.answered && h < grid.cells.size() && a < grid.cells[h].size() && !grid.cells[h][a].empty() &&
          grid.cells[h][a] == normalised(truth.rows[h][a]))
        ++count.right;
    }
  }
  return count;
}

std::string vote_of(const ReadGrid& grid) {
  std::string out;
  if (!grid.answered) return out;
  for (const auto& house : grid.cells) {
    if (!out.empty()) out += ";";
    for (size_t a = 0; a < house.size(); ++a) out += (a == 0 ? "" : "|") + house[a].substr(0, 40);
  }
  return out;
}

std::string solution_json(const SolutionTable& table) {
  core::Json header = {"House"}, rows = core::Json::array();
  for (const std::string& a : table.attributes) header.push_back(a);
  for (size_t h = 0; h < table.rows.size(); ++h) {
    core::Json row = {std::to_string(h + 1)};
    for (const std::string& value : table.rows[h]) row.push_back(value);
    rows.push_back(row);
  }
  return core::dump_json({{"header", header}, {"rows", rows}});
}

SolutionTable parse_solution(const std::string& text, const std::string& source) {
  const core::Json json = core::parse_json(text, source);
  const auto bad = [&](bool ok, const std::string& pointer, const std::string& expected) {
    PAN_CHECK(ok, kData, "a puzzle's solution is not readable")
        .where(source)
        .pointer(pointer)
        .expected(expected);
  };
  bad(json.is_object() && json.contains("header") && json["header"].is_array() && json["header"].size() >= 2,
      "/solution/header", "a list that starts with \"House\" and names the attributes");
  bad(json.contains("rows") && json["rows"].is_array() && !json["rows"].empty(), "/solution/rows",
      "a list of rows");
  SolutionTable table;
  const auto& header = json["header"];
  for (size_t i = 0; i < header.size(); ++i) {
    bad(header[i].is_string(), "/solution/header/" + std::to_string(i), "a text");
    if (i > 0) table.attributes.push_back(header[i].get<std::string>());
  }
  for (size_t r = 0; r < json["rows"].size(); ++r) {
    const auto& row = json["rows"][r];
    const std::string pointer = "/solution/rows/" + std::to_string(r);
    bad(row.is_array() && row.size() == header.size(), pointer, "one entry per entry of the header");
    std::vector<std::string> cells;
    for (size_t i = 1; i < row.size(); ++i) {
      bad(row[i].is_string(), pointer + "/" + std::to_string(i), "a text");
      cells.push_back(row[i].get<std::string>());
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace pan::tasks::logic_grid
