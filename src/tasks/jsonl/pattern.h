// A regular expression with limits, so that no answer text can make it run away.
//
//   Pattern p("answer is (\\w+)");
//   std::optional<std::string> hit = p.find_last(text);
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace pan::tasks::jsonl {

class Pattern {
 public:
  // PCRE2 over characters of UTF-8, \w and \d being Unicode's. Text need not be valid UTF-8: invalid bytes
  // match nothing. Error: kConfig with the place in the pattern.
  explicit Pattern(const std::string& pattern);
  ~Pattern();
  Pattern(Pattern&&) noexcept;

  // First group of the last match, the whole match where there is no group or it took no part. Nothing where
  // there is no match or a limit of the matcher is reached.
  std::optional<std::string> find_last(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace pan::tasks::jsonl
