// Small pieces of text for reports.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace pan::experiment {

// printf into a string; longer than 255 bytes is cut off, so for figures only.
template <class... A>
std::string format(const char* pattern, A... a) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, a...);
  return text;
}

// "1 seed", "3 seeds".
inline std::string plural(int64_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace pan::experiment
