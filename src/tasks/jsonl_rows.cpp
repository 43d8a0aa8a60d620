#include "tasks/jsonl_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "tasks/number_text.h"

namespace pan::tasks {
namespace {

std::string line_name(int64_t line) { return "line " + std::to_string(line); }

}  // namespace

void read_jsonl(const std::string& path, const std::string& remedy,
                const std::function<void(const core::Json&, int64_t)>& row) {
  PAN_CHECK(core::exists(path) && !core::is_folder(path), kData, "data file not found")
      .where(path)
      .expected("a JSONL file")
      .got(core::is_folder(path) ? "a folder" : "nothing of that name")
      .remedy(remedy);
  const std::string text = core::read_file(path);
  int64_t line = 0, rows = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view content = trimmed(std::string_view(text).substr(begin, end - begin));
    begin = end + 1;
    ++line;
    if (content.empty()) continue;
    const core::Json json = core::parse_json(content, path + ", " + line_name(line));
    PAN_CHECK(json.is_object(), kData, "a row is not an object")
        .where(path)
        .pointer(line_name(line))
        .expected("one JSON object a line")
        .got(std::string(content.substr(0, 60)))
        .remedy("Mend that line");
    row(json, line);
    ++rows;
  }
  PAN_CHECK(rows > 0, kData, "data file has no rows")
      .where(path)
      .expected("one JSON object a line")
      .got(text.empty() ? "an empty file" : "nothing but blank lines")
      .remedy("Fetch or make the file again, or give another path");
}

std::string text_of(const core::Json& row, const std::string& key, const std::string& path, int64_t line) {
  const auto it = row.find(key);
  PAN_CHECK(it != row.end() && (it->is_string() || it->is_number()), kData, "a row lacks a text")
      .where(path)
      .pointer(line_name(line) + ", key \"" + key + "\"")
      .expected("text")
      .got(it == row.end() ? "no such key" : it->type_name())
      .remedy("Mend that line, or name the key that your rows have");
  return it->is_string() ? it->get<std::string>() : it->dump();
}

}  // namespace pan::tasks
