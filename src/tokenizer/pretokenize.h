// From text to the words that BPE merges within: the `pre_tokenizer` of a tokenizer.json.
//
//   PreTokenizer pre(json["pre_tokenizer"], "model/tokenizer.json");
//   Pieces pieces;  pre.split(text, pieces);      // pieces.views, in order
//
// Supported: ByteLevel (own GPT-2 pattern or none, add_prefix_space), Digits, Split (string or regular
// expression, all behaviours, invert), and sequences of them with ByteLevel last. Anything else is refused by
// name.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace pan::tokenizer {

// Views into the text, or into `owned` where a step changed the text.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

class PreTokenizer {
 public:
  // `json`: the pre_tokenizer value, null allowed (no split at all). Errors: kData.
  PreTokenizer(const nlohmann::ordered_json& json, const std::string& source);

  // Appends the pieces of valid UTF-8 `text`, none of them empty.
  void split(std::string_view text, Pieces& out) const;

  // Whether the words are to be taken as bytes (a ByteLevel step is there) rather than as characters.
  bool byte_level() const { return byte_level_; }

  class Step;

 private:
  void add(const nlohmann::ordered_json& json, const std::string& pointer);

  std::string source_;
  std::vector<std::shared_ptr<const Step>> steps_;
  bool byte_level_ = false;
};

}  // namespace pan::tokenizer
