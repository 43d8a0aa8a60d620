#include "tasks/number_text.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace pan::tasks {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

char at_or_zero(std::string_view text, size_t i) { return i < text.size() ? text[i] : '\0'; }

size_t skip_digits(std::string_view text, size_t i) {
  while (i < text.size() && is_digit(text[i])) ++i;
  return i;
}

// Length of a sign at `i`: '-', '+' or the three bytes of U+2212.
size_t sign_length(std::string_view text, size_t i) {
  const char c = at_or_zero(text, i);
  if (c == '-' || c == '+') return 1;
  return text.substr(std::min(i, text.size()), 3) == "\xE2\x88\x92" ? 3 : 0;
}

struct Decimal {
  std::string whole, part;  // digits before and after the point
  size_t end = 0;
};

// Digits with or without groups of three, then an optional point that has digits after it.
std::optional<Decimal> read_decimal(std::string_view text, size_t at) {
  Decimal d;
  size_t i = skip_digits(text, at);
  d.whole = std::string(text.substr(at, i - at));
  if (i - at >= 1 && i - at <= 3) {
    for (size_t end = i; at_or_zero(text, end) == ',' && skip_digits(text, end + 1) >= end + 4;) {
      if (is_digit(at_or_zero(text, end + 4))) break;  // not a group of three
      d.whole += text.substr(end + 1, 3);
      i = end += 4;
    }
  }
  if (at_or_zero(text, i) == '.' && is_digit(at_or_zero(text, i + 1))) {
    const size_t end = skip_digits(text, i + 1);
    d.part = std::string(text.substr(i + 1, end - i - 1));
    i = end;
  }
  if (d.whole.empty() && d.part.empty()) return std::nullopt;
  d.end = i;
  return d;
}

std::string plain(const std::string& whole, const std::string& part, bool negative) {
  const size_t first = whole.find_first_not_of('0'), last = part.find_last_not_of('0');
  std::string out = first == std::string::npos ? "0" : whole.substr(first);
  if (last != std::string::npos) out += "." + part.substr(0, last + 1);
  return negative && out != "0" ? "-" + out : out;
}

// e5, E-3, at most two digits so that the digits written out stay few.
std::optional<int> read_exponent(std::string_view text, size_t& i) {
  if (at_or_zero(text, i) != 'e' && at_or_zero(text, i) != 'E') return std::nullopt;
  size_t begin = i + 1;
  const char sign = at_or_zero(text, begin);
  if (sign == '-' || sign == '+') ++begin;
  const size_t end = skip_digits(text, begin);
  if (end == begin || end - begin > 2) return std::nullopt;
  int value = 0;
  for (size_t k = begin; k < end; ++k) value = value * 10 + (text[k] - '0');
  i = end;
  return sign == '-' ? -value : value;
}

void shift_point(Decimal& d, int exponent) {
  const size_t n = static_cast<size_t>(exponent < 0 ? -exponent : exponent);
  if (exponent >= 0) {
    d.part.resize(std::max(d.part.size(), n), '0');
    d.whole += d.part.substr(0, n);
    d.part.erase(0, n);
  } else {
    if (d.whole.size() < n) d.whole.insert(0, n - d.whole.size(), '0');
    d.part.insert(0, d.whole.substr(d.whole.size() - n));
    d.whole.erase(d.whole.size() - n);
  }
}

constexpr size_t kFractionDigits = 9;  // a side of a fraction; two of them fit 64 bits

uint64_t scaled(const Decimal& d, size_t more_zeros) {
  uint64_t x = 0;
  for (char c : d.whole + d.part) x = x * 10 + static_cast<uint64_t>(c - '0');
  for (size_t i = 0; i < more_zeros; ++i) x *= 10;
  return x;
}

std::string fraction(const Decimal& top, const Decimal& bottom, bool negative) {
  uint64_t p = scaled(top, bottom.part.size()), q = scaled(bottom, top.part.size());
  const uint64_t common = std::gcd(p, q);
  p /= common;
  q /= common;
  uint64_t rest = q;
  for (uint64_t prime : {2u, 5u})
    while (rest % prime == 0) rest /= prime;
  if (rest != 1) return (negative ? "-" : "") + std::to_string(p) + "/" + std::to_string(q);
  std::string digits;
  for (uint64_t remainder = p % q; remainder != 0; remainder = remainder * 10 % q)
    digits += static_cast<char>('0' + remainder * 10 / q);
  return plain(std::to_string(p / q), digits, negative);
}

// The lower side of "3/4": short, and not zero.
std::optional<Decimal> read_divisor(std::string_view text, size_t slash) {
  if (at_or_zero(text, slash) != '/' || !is_digit(at_or_zero(text, slash + 1))) return std::nullopt;
  auto d = read_decimal(text, slash + 1);
  if (d && d->whole.size() + d->part.size() <= kFractionDigits && scaled(*d, 0) != 0) return d;
  return std::nullopt;
}

// Where the digits (or the point before them) of a number that starts at `at` begin: after -, $, -$ or $-.
std::optional<size_t> skip_sign_and_currency(std::string_view text, size_t at, bool& negative) {
  const bool currency_first = at_or_zero(text, at) == '$';
  size_t i = at + (currency_first ? 1 : 0);
  if (const size_t sign = sign_length(text, i); sign > 0) {
    const char before = i > 0 ? text[i - 1] : '\0';
    if (is_digit(before) || is_letter(before) || before == ')' || before == ']' || before == '%')
      return std::nullopt;
    negative = text[i] != '+';
    i += sign;
    if (!currency_first && at_or_zero(text, i) == '$') ++i;
  }
  const bool starts =
      is_digit(at_or_zero(text, i)) || (at_or_zero(text, i) == '.' && is_digit(at_or_zero(text, i + 1)));
  return starts ? std::optional(i) : std::nullopt;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<NumberHit> read_number(std::string_view text, size_t at) {
  bool negative = false;
  const auto digits = skip_sign_and_currency(text, at, negative);
  if (!digits) return std::nullopt;
  auto d = read_decimal(text, *digits);
  if (!d) return std::nullopt;
  size_t end = d->end;
  if (const auto exponent = read_exponent(text, end)) {
    shift_point(*d, *exponent);
  } else if (d->whole.size() + d->part.size() <= kFractionDigits) {
    if (const auto divisor = read_divisor(text, end))
      return NumberHit{at, divisor->end, fraction(*d, *divisor, negative)};
  }
  return NumberHit{at, end, plain(d->whole, d->part, negative)};
}

std::optional<NumberHit> find_last_number(std::string_view text) {
  std::optional<NumberHit> last;
  for (size_t i = 0; i < text.size();) {
    auto hit = read_number(text, i);
    if (!hit) {
      ++i;
      continue;
    }
    i = hit->end;
    last = std::move(hit);
  }
  return last;
}

std::optional<std::string> canonical_number(std::string_view text) {
  text = trimmed(text);
  const auto hit = read_number(text, 0);
  if (!hit) return std::nullopt;
  const std::string_view rest = text.substr(hit->end);
  if (rest.empty() || rest == "." || rest == "%" || rest == "%.") return hit->value;
  return std::nullopt;
}

}  // namespace pan::tasks
