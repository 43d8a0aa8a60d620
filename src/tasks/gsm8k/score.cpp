#include "tasks/gsm8k/score.h"

#include <algorithm>

#include "tasks/number_text.h"

namespace pan::tasks::gsm8k {
namespace {

constexpr std::string_view kMark = "####";

// The number after a mark at `at`, blanks between allowed.
std::optional<NumberHit> number_after_mark(std::string_view text, size_t at) {
  size_t i = at + kMark.size();
  while (i < text.size() && (text[i] == ' ' || text[i] == '\t')) ++i;
  return read_number(text, i);
}

}  // namespace

std::optional<std::string> strict_value(std::string_view answer) {
  for (size_t at = answer.rfind(kMark); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : answer.rfind(kMark, at - 1)) {
    if (auto hit = number_after_mark(answer, at)) return hit->value;
  }
  return std::nullopt;
}

bool has_format(std::string_view answer) {
  const std::string_view text = trimmed(answer);
  const size_t mark = text.find(kMark);
  if (mark == std::string_view::npos || text.find(kMark, mark + kMark.size()) != std::string_view::npos)
    return false;
  if (text.substr(mark).find('\n') != std::string_view::npos) return false;
  const size_t newline = text.substr(0, mark).rfind('\n');
  const std::string_view before =
      newline == std::string_view::npos ? text.substr(0, mark) : text.substr(newline, mark - newline);
  return trimmed(before).empty() && canonical_number(text.substr(mark + kMark.size())).has_value();
}

Scores score(std::string_view answer, std::string_view gold) {
  Scores s;
  s.strict_value = strict_value(answer);
  if (auto hit = find_last_number(answer)) s.flexible_value = std::move(hit->value);
  s.strict = s.strict_value && *s.strict_value == gold;
  s.flexible = s.flexible_value && *s.flexible_value == gold;
  s.format = has_format(answer);
  return s;
}

std::string without_calculator_notes(std::string_view text) {
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    const size_t open = text.find("<<", i);
    const size_t close = open == std::string_view::npos ? open : text.find(">>", open);
    if (close == std::string_view::npos) break;
    out += text.substr(i, open - i);
    i = close + 2;
  }
  return out + std::string(text.substr(std::min(i, text.size())));
}

}  // namespace pan::tasks::gsm8k
