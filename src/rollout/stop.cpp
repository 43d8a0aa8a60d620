#include "rollout/stop.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace pan::rollout {

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndOfText:
      return "end_of_text";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kStopString:
      return "stop_string";
  }
  return "unknown";
}

StopRules::StopRules(const std::vector<int64_t>& stop_tokens, std::vector<std::string> stop_strings)
    : tokens_(stop_tokens.begin(), stop_tokens.end()), strings_(std::move(stop_strings)) {
  for (const std::string& s : strings_) {
    PAN_CHECK(!s.empty(), kConfig, "a stop string is empty")
        .remedy("An empty string would end every response at once.");
    longest_ = std::max(longest_, s.size());
  }
}

std::optional<FinishReason> StopRules::push(StopState& state, int64_t token, std::string_view bytes) const {
  if (is_stop_token(token)) return FinishReason::kEndOfText;
  const size_t old_size = state.text.size();
  state.text.append(bytes);
  if (strings_.empty()) return std::nullopt;
  // A match ends in the new bytes, so it begins at most longest_ - 1 bytes before them.
  const size_t from = old_size - std::min(old_size, longest_ - 1);
  size_t cut = std::string::npos;
  for (const std::string& s : strings_) cut = std::min(cut, state.text.find(s, from));
  if (cut == std::string::npos) return std::nullopt;
  state.text.resize(cut);
  return FinishReason::kStopString;
}

}  // namespace pan::rollout
