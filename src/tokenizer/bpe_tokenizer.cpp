#include "tokenizer/bpe_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "core/log.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

constexpr size_t kMaxCachedWord = 64;  // bytes; longer words hardly come twice
constexpr size_t kMaxCachedWords = 1 << 16;

// Collects symbols; what has no token becomes the unknown token, one for a run where runs are fused.
class Symbols {
 public:
  Symbols(int32_t unknown_id, bool fuse) : unknown_id_(unknown_id), fuse_(fuse) {}
  void add(int32_t id) {
    out_.push_back(id);
    after_unknown_ = false;
  }
  void add_unknown() {
    if (unknown_id_ < 0 || (fuse_ && after_unknown_)) return;
    out_.push_back(unknown_id_);
    after_unknown_ = true;
  }
  std::vector<int32_t> take() { return std::move(out_); }
  void reserve(size_t n) { out_.reserve(n); }

 private:
  int32_t unknown_id_;
  bool fuse_;
  bool after_unknown_ = false;
  std::vector<int32_t> out_;
};

// SmolLM2 has no token for some control characters; the reference library leaves them out without a word.
void warn_of_missing_byte(char c) {
  std::array<char, 8> hex{};
  std::snprintf(hex.data(), hex.size(), "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
  core::log_warn("tokenizer.missing_byte", std::string("the tokenizer has no token for byte ") + hex.data() +
                                               " (and maybe others); such bytes are left out of its texts");
}

}  // namespace

std::vector<int64_t> BpeTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  Ids out;
  if (options.add_special) out = t_.before;
  encode_any(
      text, [&](size_t, size_t) { return options.allow_special; }, out);
  if (options.add_special) out.insert(out.end(), t_.after.begin(), t_.after.end());
  return out;
}

std::vector<int64_t> BpeTokenizer::encode_parts(const std::vector<TextPart>& parts) const {
  std::string text;
  std::vector<std::pair<size_t, size_t>> forbidden;  // in order, not overlapping
  for (const TextPart& part : parts) {
    if (!part.allow_special && !part.text.empty())
      forbidden.emplace_back(text.size(), text.size() + part.text.size());
    text += part.text;
  }
  const auto allowed = [&](size_t begin, size_t end) {
    const auto after = std::upper_bound(forbidden.begin(), forbidden.end(), begin,
                                        [](size_t value, const auto& span) { return value < span.second; });
    return after == forbidden.end() || after->first >= end;
  };
  Ids out;
  encode_any(text, allowed, out);
  return out;
}

// Valid UTF-8 takes the usual way; each run of other bytes is a word.
void BpeTokenizer::encode_any(std::string_view text, const AddedTokens::Allowed& allowed, Ids& out) const {
  size_t at = 0;
  while (at < text.size()) {
    const size_t good = valid_prefix(text.substr(at));
    if (good > 0) {
      const size_t offset = at;
      encode_valid(
          text.substr(at, good), [&](size_t b, size_t e) { return allowed(offset + b, offset + e); }, out);
    }
    at += good;
    const size_t bad = at;
    while (at < text.size() && valid_prefix(text.substr(at, 4)) == 0) ++at;
    if (at == bad) continue;
    std::vector<int32_t> symbols = symbols_of_bytes(text.substr(bad, at - bad));
    t_.merges.apply(symbols);
    out.insert(out.end(), symbols.begin(), symbols.end());
  }
}

void BpeTokenizer::encode_valid(std::string_view text, const AddedTokens::Allowed& allowed, Ids& out) const {
  for (const Segment& s : t_.raw_tokens.split(text, allowed)) {
    if (s.id >= 0) {
      out.push_back(s.id);
      continue;
    }
    const std::string_view raw = text.substr(s.begin, s.end - s.begin);
    std::string changed;
    if (!t_.normalizer.identity()) changed = t_.normalizer.apply(raw);
    const std::string_view piece = t_.normalizer.identity() ? raw : std::string_view(changed);
    if (t_.normalized_tokens.empty()) {
      encode_ordinary(piece, out);
      continue;
    }
    // Normalising moves offsets, so a special token that is looked for in normalised text is recognised only
    // when the whole stretch may hold one.
    const bool may_be_special = allowed(s.begin, s.end);
    for (const Segment& n :
         t_.normalized_tokens.split(piece, [&](size_t, size_t) { return may_be_special; })) {
      if (n.id >= 0) {
        out.push_back(n.id);
      } else {
        encode_ordinary(piece.substr(n.begin, n.end - n.begin), out);
      }
    }
  }
}

void BpeTokenizer::encode_ordinary(std::string_view text, Ids& out) const {
  Pieces pieces;
  t_.pre_tokenizer.split(text, pieces);
  for (const auto word : pieces.views) encode_word(word, out);
}

void BpeTokenizer::encode_word(std::string_view word, Ids& out) const {
  const bool cached = word.size() <= kMaxCachedWord;
  if (cached) {
    const std::lock_guard lock(cache_lock_);
    if (const auto hit = cache_.find(word); hit != cache_.end()) {
      out.insert(out.end(), hit->second.begin(), hit->second.end());
      return;
    }
  }
  std::vector<int32_t> symbols;
  const auto whole = t_.ignore_merges ? t_.whole_words.find(word) : t_.whole_words.end();
  if (whole != t_.whole_words.end()) {
    symbols.push_back(whole->second);
  } else {
    symbols = t_.pre_tokenizer.byte_level() ? symbols_of_bytes(word) : symbols_of_chars(word);
    t_.merges.apply(symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
  if (cached) {
    const std::lock_guard lock(cache_lock_);
    if (cache_.size() < kMaxCachedWords) cache_.emplace(std::string(word), std::move(symbols));
  }
}

std::vector<int32_t> BpeTokenizer::symbols_of_bytes(std::string_view word) const {
  Symbols symbols(t_.unknown_id, t_.fuse_unknown);
  symbols.reserve(word.size());
  for (const char c : word) {
    const int32_t id = t_.byte_ids[static_cast<unsigned char>(c)];
    if (id < 0 && t_.unknown_id < 0) warn_of_missing_byte(c);
    id >= 0 ? symbols.add(id) : symbols.add_unknown();
  }
  return symbols.take();
}

std::vector<int32_t> BpeTokenizer::symbols_of_chars(std::string_view word) const {
  Symbols symbols(t_.unknown_id, t_.fuse_unknown);
  symbols.reserve(word.size());
  for (size_t at = 0; at < word.size();) {
    const size_t begin = at;
    next_char(word, at);
    const std::string_view character = word.substr(begin, at - begin);
    if (const auto found = t_.vocabulary.find(character); found != t_.vocabulary.end()) {
      symbols.add(found->second);
      continue;
    }
    const auto id_of_byte = [&](char c) { return t_.byte_ids[static_cast<unsigned char>(c)]; };
    const bool as_bytes = t_.byte_fallback && std::all_of(character.begin(), character.end(),
                                                          [&](char c) { return id_of_byte(c) >= 0; });
    if (!as_bytes) {
      symbols.add_unknown();
      continue;
    }
    for (const char c : character) symbols.add(id_of_byte(c));
  }
  return symbols.take();
}

std::string BpeTokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  std::string out;
  for (const int64_t id : ids) {
    if (known(id) && !(skip_special && is_special(id))) out += t_.bytes_by_id[static_cast<size_t>(id)];
  }
  size_t begin = 0;
  for (int64_t i = 0;
       i < t_.decoder.strip_count && out.compare(begin, t_.decoder.strip.size(), t_.decoder.strip) == 0;
       ++i) {
    begin += t_.decoder.strip.size();
  }
  return out.substr(begin);
}

std::string BpeTokenizer::token_bytes(int64_t id) const {
  return known(id) && !is_special(id) ? t_.bytes_by_id[static_cast<size_t>(id)] : "";
}

bool BpeTokenizer::is_special(int64_t id) const {
  return known(id) && t_.special_by_id[static_cast<size_t>(id)];
}

int64_t BpeTokenizer::id_of(std::string_view token) const {
  if (const auto found = t_.added.find(token); found != t_.added.end()) return found->second;
  const auto found = t_.vocabulary.find(token);
  return found == t_.vocabulary.end() ? -1 : found->second;
}

}  // namespace pan::tokenizer
