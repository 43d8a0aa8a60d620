#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

size_t white_space_begin(std::string_view text, size_t end) {
  while (end > 0 && is_white_space(char_before(text, end))) {
    --end;
    while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  }
  return end;
}

size_t white_space_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t next = begin;
    if (!is_white_space(next_char(text, next))) break;
    begin = next;
  }
  return begin;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word_char(char_before(text, begin))) return false;
  return end == text.size() || !is_word_char(next_char(text, end));
}

}  // namespace

void AddedTokens::add(const AddedToken& token, const std::string& match) {
  int32_t node = 0;
  for (const char ch : match) {
    const auto c = static_cast<unsigned char>(ch);
    int32_t next = child(node, c);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[static_cast<size_t>(node)].next.emplace_back(c, next);
    }
    node = next;
  }
  starts_[static_cast<unsigned char>(match.front())] = true;
  Node& last = nodes_[static_cast<size_t>(node)];
  if (last.token < 0) {  // of two with the same text the first counts
    last.token = static_cast<int32_t>(tokens_.size());
    tokens_.push_back(token);
  }
}

int32_t AddedTokens::child(int32_t node, unsigned char c) const {
  for (const auto& [label, next] : nodes_[static_cast<size_t>(node)].next) {
    if (label == c) return next;
  }
  return -1;
}

int32_t AddedTokens::longest(std::string_view text, size_t at, size_t& end) const {
  int32_t best = -1;
  int32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    node = child(node, static_cast<unsigned char>(text[i]));
    if (node < 0) break;
    if (const int32_t token = nodes_[static_cast<size_t>(node)].token; token >= 0) {
      best = token;
      end = i + 1;
    }
  }
  return best;
}

std::vector<Segment> AddedTokens::split(std::string_view text, const Allowed& allowed) const {
  std::vector<Segment> out;
  size_t covered = 0;
  for (size_t at = 0; at < text.size() && !tokens_.empty();) {
    size_t end = 0;
    const int32_t index = starts_[static_cast<unsigned char>(text[at])] ? longest(text, at, end) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at;
    at = end;  // a match that is turned down is passed over as a whole, as the reference library does
    if (token.special && !allowed(begin, end)) continue;
    if (token.single_word && !stands_alone(text, begin, end)) continue;
    if (token.lstrip) begin = white_space_begin(text, begin);
    begin = std::max(begin, covered);
    if (token.rstrip) end = std::max(begin, white_space_end(text, end));
    if (covered < begin) out.push_back({covered, begin, -1});
    out.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) out.push_back({covered, text.size(), -1});
  return out;
}

}  // namespace pan::tokenizer
