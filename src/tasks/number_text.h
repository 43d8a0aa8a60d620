// Numbers as people and models write them, found in text and compared by value.
//
//   canonical_number("$1,800.00")             == "1800"
//   find_last_number("so 3 + 4 = 7 apples.")->value == "7"
//
// Read: 18, 18., 18.00, .5, 1,800 (groups of three), $18, -5, -$5, $-5, U+2212 as minus, 1e3, 3/4, 25% (the
// sign is dropped: the value is 25). A minus straight after a letter, a digit or a closing bracket is a dash,
// not a sign ("3-5"). Everything is linear in the text; numbers of any length are compared exactly, digit by
// digit.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace pan::tasks {

struct NumberHit {
  size_t begin = 0, end = 0;  // bytes of the text, sign included, percent sign excluded
  // Equal exactly for equal numbers: digits without needless zeros, "p/q" in lowest terms where a fraction
  // has no finite decimal form.
  std::string value;
};

// A number that starts at byte `at`, or nothing.
std::optional<NumberHit> read_number(std::string_view text, size_t at);
std::optional<NumberHit> find_last_number(std::string_view text);

// The value where the whole text is one number (blanks around it, a final full stop or a percent sign
// allowed).
std::optional<std::string> canonical_number(std::string_view text);

std::string_view trimmed(std::string_view text);  // ASCII white space

}  // namespace pan::tasks
