// The `normalizer` and `decoder` of a tokenizer.json, as far as they are supported.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pan::tokenizer {

// NFC, Replace (of a fixed string), Prepend, and sequences of them. Others are refused by name (kData).
class Normalizer {
 public:
  Normalizer(const nlohmann::ordered_json& json, const std::string& source);
  bool identity() const { return steps_.empty(); }
  std::string apply(std::string_view text) const;  // valid UTF-8

 private:
  enum class Kind { kNfc, kReplace, kPrepend };
  struct Step {
    Kind kind;
    std::string from, to;
  };
  void add(const nlohmann::ordered_json& json, const std::string& source, const std::string& pointer);
  std::vector<Step> steps_;
};

// How token texts become a text: ByteLevel, or a sequence of Replace, ByteFallback, Fuse, Strip (at the
// start).
struct Decoder {
  // Errors: kData, by name.
  Decoder(const nlohmann::ordered_json& json, const std::string& source);

  bool byte_level = false;
  bool byte_fallback = false;                                 // "<0x0A>" is a byte
  std::vector<std::pair<std::string, std::string>> replaces;  // in each token
  std::string strip;        // one character, taken off the start of the whole text ...
  int64_t strip_count = 0;  // ... at most so many times

 private:
  void add(const nlohmann::ordered_json& json, const std::string& source, const std::string& pointer);
  bool fused_ = false;
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace pan::tokenizer
