// The little Unicode that tokenizers need: UTF-8 in and out, a few character classes, composition (NFC).
//
//   size_t good = valid_prefix(text);                        // bytes of `text` that are valid UTF-8
//   for (size_t i = 0; i < good;) uint32_t c = next_char(text, i);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pan::tokenizer {

// Number of leading bytes that are valid UTF-8 (no surrogates, no overlong forms).
size_t valid_prefix(std::string_view text);

// Length of the UTF-8 sequence that starts with `lead`: 1..4; 0 if it cannot start one.
int sequence_length(unsigned char lead);

// Whether `text` (shorter than a whole character) could become a character when more bytes follow.
bool is_incomplete_character(std::string_view text);

// Decodes the character at `pos` of valid UTF-8 and moves `pos` behind it.
uint32_t next_char(std::string_view text, size_t& pos);
// The character that ends at `end` (> 0) of valid UTF-8.
uint32_t char_before(std::string_view text, size_t end);

void append_char(std::string& out, uint32_t code_point);

// Unicode property White_Space.
bool is_white_space(uint32_t c);
// What Python's str.strip() removes: White_Space and the separators U+001C..U+001F.
bool is_python_space(uint32_t c);
// General categories Nd, Nl, No.
bool is_numeric(uint32_t c);
// Letters, marks, decimal digits and connector punctuation: what \w means.
bool is_word_char(uint32_t c);

std::string_view strip_python(std::string_view text);

// Canonical composition (NFC) of valid UTF-8. Linear in the length also for long runs of combining marks.
std::string to_nfc(std::string_view text);

}  // namespace pan::tokenizer
