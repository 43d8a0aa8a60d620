// The split patterns of tokenizer.json: written for the Oniguruma engine, run by PCRE2 with its just-in-time
// compiler.
//
//   Regex re("\\p{N}{1,3}| ?\\p{L}+", "tokenizer.json");
//   re.for_each_match(text, [](size_t begin, size_t end) { ... });
//
// The two engines read a few things differently. The pattern is translated where we know how (\s, \d, \uHHHH)
// and refused by name where we do not (\w, \b, \h, nested classes, ...), so that a pattern never silently
// means something else.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pan::tokenizer {

class Regex {
 public:
  // Error: kData when the pattern cannot be compiled or uses something we do not support; `source` is named
  // in it.
  Regex(const std::string& pattern, const std::string& source);

  // Calls `visit(begin, end)` for every match of valid UTF-8 `text`, in order, not overlapping.
  // Thread-safe. Error: kData when the engine gives up on the text.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_, source_;
};

// The translation by itself, for tests.
std::string translate_pattern(const std::string& pattern, const std::string& source);

}  // namespace pan::tokenizer
