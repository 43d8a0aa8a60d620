// Reading the answer out of a GSM8K response, and comparing it with the gold number by value.
//
//   Scores s = score("... so she has 18.\n#### 18.00", "18");   // strict and flexible are both 1
//
// The whole text is searched, however long it is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pan::tasks::gsm8k {

struct Scores {
  std::optional<std::string> strict_value;    // number after the last "####" that has one
  std::optional<std::string> flexible_value;  // last number of the text
  bool strict = false, flexible = false;      // equal to gold
  bool format = false;  // the last line is "#### number", and "####" occurs nowhere else
};

// `gold` is in the canonical form of number_text.h.
Scores score(std::string_view answer, std::string_view gold);

std::optional<std::string> strict_value(std::string_view answer);
bool has_format(std::string_view answer);

// "<<48/2=24>>" and the like, which the data set writes for a calculator.
std::string without_calculator_notes(std::string_view text);

}  // namespace pan::tasks::gsm8k
