#include "rhythm/text.h"

#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

namespace pan::rhythm {

bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

bool is_content(std::string_view bytes) {
  for (const char c : bytes) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80) return true;
  }
  return false;
}

std::string_view trim(std::string_view bytes) {
  while (!bytes.empty() && is_space(bytes.front())) bytes.remove_prefix(1);
  while (!bytes.empty() && is_space(bytes.back())) bytes.remove_suffix(1);
  return bytes;
}

int64_t ceil_fraction(double fraction, int64_t n) {
  constexpr int64_t kDenominator = 1'000'000'000;
  const int64_t numerator = std::llround(fraction * static_cast<double>(kDenominator));
  return (numerator * n + kDenominator - 1) / kDenominator;
}

double repeated_8grams(const SequenceText& text) {
  constexpr size_t kGram = 8;
  std::unordered_map<std::string_view, char32_t> ids;
  std::u32string tokens;
  for (int64_t t = text.prompt_length; t < text.num_tokens(); ++t) {
    const std::string& bytes = text.token_bytes[static_cast<size_t>(t)];
    if (bytes.empty()) continue;
    tokens.push_back(ids.emplace(bytes, static_cast<char32_t>(ids.size())).first->second);
  }
  if (tokens.size() < kGram) return std::numeric_limits<double>::quiet_NaN();
  const size_t total = tokens.size() - kGram + 1;
  std::unordered_set<std::u32string_view> distinct;
  for (size_t i = 0; i < total; ++i) distinct.insert(std::u32string_view(tokens).substr(i, kGram));
  return 1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total);
}

}  // namespace pan::rhythm
