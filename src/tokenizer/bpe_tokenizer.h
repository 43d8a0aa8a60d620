// The running part of byte_bpe.h: tables that the loader fills, and the Tokenizer over them.
#pragma once

#include <array>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pan/tokenizer.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/normalize.h"
#include "tokenizer/pretokenize.h"

namespace pan::tokenizer {

// Lets a map of strings be searched with a view, without a copy.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class V>
using TextMap = std::unordered_map<std::string, V, TextHash, std::equal_to<>>;

struct BpeTables {
  BpeTables(Normalizer n, PreTokenizer p, Decoder d)
      : normalizer(std::move(n)), pre_tokenizer(std::move(p)), decoder(std::move(d)) {}

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;

  MergeTable merges;
  TextMap<int32_t> vocabulary;          // the model's own, exact texts
  TextMap<int32_t> added;               // added tokens, exact texts
  TextMap<int32_t> whole_words;         // with ignore_merges: words that are tokens as they stand
  std::array<int32_t, 256> byte_ids{};  // token of each byte; -1 where there is none
  int32_t unknown_id = -1;              // for what no token covers; -1: left out
  bool fuse_unknown = false;            // runs of unknown symbols become one token
  bool byte_fallback = false;           // over characters: an unknown one becomes its bytes
  bool ignore_merges = false;

  std::vector<std::string> bytes_by_id;  // what a token adds to a text
  std::vector<bool> special_by_id;
  AddedTokens raw_tokens, normalized_tokens;
  std::vector<int64_t> before, after;  // what add_special writes
  int64_t bos_id = -1, eos_id = -1;
};

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeTables tables) : t_(std::move(tables)) {}

  std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::vector<int64_t> encode_parts(const std::vector<TextPart>& parts) const override;
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override;
  std::string token_bytes(int64_t id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(t_.bytes_by_id.size()); }
  bool is_special(int64_t id) const override;
  int64_t id_of(std::string_view token) const override;
  int64_t bos_id() const override { return t_.bos_id; }
  int64_t eos_id() const override { return t_.eos_id; }

 private:
  using Ids = std::vector<int64_t>;
  void encode_any(std::string_view text, const AddedTokens::Allowed& allowed, Ids& out) const;
  void encode_valid(std::string_view text, const AddedTokens::Allowed& allowed, Ids& out) const;
  void encode_ordinary(std::string_view text, Ids& out) const;
  void encode_word(std::string_view word, Ids& out) const;
  std::vector<int32_t> symbols_of_bytes(std::string_view word) const;
  std::vector<int32_t> symbols_of_chars(std::string_view word) const;
  bool known(int64_t id) const { return id >= 0 && id < vocab_size(); }

  BpeTables t_;
  mutable std::mutex cache_lock_;
  mutable TextMap<std::vector<int32_t>> cache_;  // words met before
};

}  // namespace pan::tokenizer
