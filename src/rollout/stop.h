// When a response ends.
//
//   rollout::StopRules rules({eos_id}, {"\n\nQuestion:"});
//   rollout::StopState state;
//   if (auto why = rules.push(state, token, tokenizer.token_bytes(token))) ...;
//   print(state.text);   // the response so far
//
// Stop strings are matched on the decoded bytes, across token borders. The text is cut before the match;
// tokens are the caller's and stay.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace pan::rollout {

// Written to files by name. Never renumber.
enum class FinishReason {
  kEndOfText = 0,  // a stop token; it is the last token of the response
  kLength = 1,     // max_new_tokens or the model's context: truncated
  kStopString = 2,
};

std::string_view to_string(FinishReason reason);  // "end_of_text", "length", "stop_string"

struct StopState {
  std::string text;  // decoded response, without stop token and stop string
};

class StopRules {
 public:
  // Errors: kConfig for an empty stop string.
  StopRules(const std::vector<int64_t>& stop_tokens, std::vector<std::string> stop_strings);

  // Appends a token and its bytes. Returns why the response ends with it, if it does. Of several strings the
  // one that begins first cuts the text. Must not be called again after a reason was returned.
  std::optional<FinishReason> push(StopState& state, int64_t token, std::string_view bytes) const;

  bool is_stop_token(int64_t token) const { return tokens_.count(token) != 0; }

 private:
  std::unordered_set<int64_t> tokens_;
  std::vector<std::string> strings_;
  size_t longest_ = 0;  // byte
};

}  // namespace pan::rollout
