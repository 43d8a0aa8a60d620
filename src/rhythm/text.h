// What a sequence says, as bytes: all that rhythm knows of tokens.
//
//   SequenceText text;  text.prompt_length = 40;  text.token_bytes = {...};  text.special = {...};
//   if (is_content(text.token_bytes[t])) ...
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pan::rhythm {

struct SequenceText {
  int64_t prompt_length = 0;  // P: tokens of the prompt; positions [P, N) are the response
  std::vector<std::string>
      token_bytes;              // [N] bytes each token adds to the decoded text; empty for special tokens
  std::vector<char> special{};  // [N] 1 for special tokens (end-of-text, turn marks)

  int64_t num_tokens() const { return static_cast<int64_t>(token_bytes.size()); }  // N
};

// The text of a sequence of token ids; `Tokenizer` has is_special(id) and token_bytes(id).
template <class Tokenizer>
SequenceText text_of(const Tokenizer& tokenizer, const std::vector<int64_t>& tokens, int64_t prompt_length) {
  SequenceText text;
  text.prompt_length = prompt_length;
  for (int64_t id : tokens) {
    const bool special = tokenizer.is_special(id);
    text.special.push_back(special ? 1 : 0);
    text.token_bytes.push_back(special ? std::string() : tokenizer.token_bytes(id));
  }
  return text;
}

// Space, tab, newline, vertical tab, form feed or carriage return.
bool is_space(char byte);

// Whether the bytes hold an ASCII letter or digit, or a byte >= 0x80 (so every script counts, punctuation
// does not).
bool is_content(std::string_view bytes);

// Without leading and trailing white space.
std::string_view trim(std::string_view bytes);

// ceil(fraction * n) with the fraction taken as a decimal number of 9 digits, so that 0.1 * 30 is 3 and not
// 3.0000000000000004. 0 <= fraction <= 1, 0 <= n < 2^33.
int64_t ceil_fraction(double fraction, int64_t n);

// Share of the response's runs of 8 tokens that occurred before in it (by bytes, tokens without bytes left
// out); NaN with fewer than 8 tokens.
double repeated_8grams(const SequenceText& text);

}  // namespace pan::rhythm
