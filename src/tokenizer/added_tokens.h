// Tokens that are cut out of a text before anything else looks at it: the `added_tokens` of a tokenizer.json.
//
//   AddedTokens tokens;  tokens.add({.id = 2, .content = "<|im_end|>", .special = true});
//   for (const Segment& s : tokens.split(text, is_allowed)) ...
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace pan::tokenizer {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;
  bool lstrip = false;       // swallows white space before it
  bool rstrip = false;       // and after it
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // looked for in the normalised text
};

struct Segment {
  size_t begin, end;  // bytes of the text
  int32_t id;         // -1: ordinary text
};

// A set of tokens that are looked for together: the longest of those that start first.
class AddedTokens {
 public:
  // `match` is what is looked for, the content after normalisation where that applies.
  void add(const AddedToken& token, const std::string& match);
  bool empty() const { return tokens_.empty(); }

  // May the special token at [begin, end) be recognised?
  using Allowed = std::function<bool(size_t begin, size_t end)>;

  // Segments that cover valid UTF-8 `text`. Time: length times the longest token at worst, linear in
  // practice.
  std::vector<Segment> split(std::string_view text, const Allowed& allowed) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> next;
    int32_t token = -1;  // index of the token that ends here
  };
  int32_t child(int32_t node, unsigned char c) const;
  // Index of the longest token that starts at `at`, -1 for none; `end` is set to its end.
  int32_t longest(std::string_view text, size_t at, size_t& end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_{1};
  std::array<bool, 256> starts_{};
};

}  // namespace pan::tokenizer
