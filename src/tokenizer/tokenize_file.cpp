#include "tokenizer/tokenize_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "pan/tokenizer.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

using core::Json;

std::string text_of_row(std::string_view line, const std::string& input, int64_t number) {
  const std::string at = "line " + std::to_string(number);
  PAN_CHECK(valid_prefix(line) == line.size(), kData, "a row is not valid UTF-8").where(input).pointer(at);
  Json row;
  try {
    row = core::parse_json(line, input);
  } catch (const core::Error& error) {
    throw core::Error(core::ErrorKind::kData, "a row is not valid JSON")
        .where(input)
        .pointer(at)
        .expected("{\"text\": \"...\"}")
        .got(error.got_text())
        .remedy("Mend that line");
  }
  const bool good = row.is_object() && row.contains("text") && row["text"].is_string();
  PAN_CHECK(good, kData, "a row has no text")
      .where(input)
      .pointer(at)
      .expected("{\"text\": \"...\"}")
      .got(core::dump_json(row).substr(0, 200))
      .remedy("Mend that line");
  return row["text"].get<std::string>();
}

}  // namespace

TokenizeCounts tokenize_file(const std::string& tokenizer, const std::string& input,
                             const std::string& output) {
  const auto tok = load(tokenizer);
  const std::string bytes = core::read_file(input);
  TokenizeCounts counts;
  std::string out;
  int64_t number = 0;
  for (size_t begin = 0; begin < bytes.size();) {
    ++number;
    const size_t end = std::min(bytes.find('\n', begin), bytes.size());
    const std::string_view line = std::string_view(bytes).substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string text = text_of_row(line, input, number);
    const auto ids = tok->encode(text);
    out += core::dump_json({{"token_ids", ids}, {"decoded", tok->decode(ids)}}) + "\n";
    counts.num_rows += 1;
    counts.num_tokens += static_cast<int64_t>(ids.size());
    counts.num_bytes += static_cast<int64_t>(text.size());
  }
  core::write_file_atomic(core::disk(), output, out);
  return counts;
}

}  // namespace pan::tokenizer
