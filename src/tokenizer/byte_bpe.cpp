#include "tokenizer/byte_bpe.h"

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "tokenizer/bpe_tokenizer.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

using core::Json;

constexpr int64_t kMaxId = 1 << 24;  // beyond it a file is corrupt, not large

// Byte-level files write each byte as one printable character: printable Latin-1 as itself, the others from
// U+0100 on.
std::map<uint32_t, unsigned char> byte_alphabet() {
  std::map<uint32_t, unsigned char> out;
  uint32_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
    out[printable ? b : next++] = static_cast<unsigned char>(b);
  }
  return out;
}

class Loader {
 public:
  Loader(const std::string& path, const Json& json) : path_(path), json_(json), alphabet_(byte_alphabet()) {}

  BpeTables load(const NamedTokens& named) {
    const Json& model = member(json_, "model", "/model");
    check_model(model);
    BpeTables t(Normalizer(value_or_null("normalizer"), path_),
                PreTokenizer(value_or_null("pre_tokenizer"), path_),
                Decoder(value_or_null("decoder"), path_));
    PAN_CHECK(t.pre_tokenizer.byte_level() == t.decoder.byte_level, kData,
              "pre-tokenizer and decoder do not belong together: one is ByteLevel, the other is not")
        .where(path_);
    PAN_CHECK(!t.decoder.byte_level || (t.decoder.replaces.empty() && t.decoder.strip_count == 0), kData,
              "a ByteLevel decoder with further steps is not supported")
        .where(path_)
        .pointer("/decoder");
    t.ignore_merges = core::get_or<bool>(model, "/ignore_merges", path_, false);
    t.byte_fallback = core::get_or<bool>(model, "/byte_fallback", path_, false);
    t.fuse_unknown = core::get_or<bool>(model, "/fuse_unk", path_, false);
    read_vocabulary(model, t);
    read_merges(model, t);
    read_added_tokens(t);
    read_bytes(t);
    if (const Json post = value_or_null("post_processor"); !post.is_null())
      read_post_processor(post, "/post_processor", t);
    const auto id_named = [&](const std::string& text, int64_t otherwise) -> int64_t {
      if (const auto a = t.added.find(text); a != t.added.end()) return a->second;
      const auto v = t.vocabulary.find(text);
      return v != t.vocabulary.end() ? v->second : otherwise;
    };
    t.bos_id = id_named(named.bos_token, named.bos_id);
    t.eos_id = id_named(named.eos_token, named.eos_id);
    return t;
  }

 private:
  [[noreturn]] void fail(const std::string& what, const std::string& pointer,
                         const std::string& got = "") const {
    throw core::Error(core::ErrorKind::kData, what).where(path_).pointer(pointer).got(got);
  }

  const Json& member(const Json& json, const char* key, const std::string& pointer) const {
    const auto found = json.is_object() ? json.find(key) : json.end();
    PAN_CHECK(json.is_object() && found != json.end(), kData,
              "this is not a tokenizer file, or a part of it is missing")
        .where(path_)
        .pointer(pointer);
    return *found;
  }

  Json value_or_null(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() ? Json() : *found;
  }

  // A setting that changes the ids and that we do not have must not be passed over.
  void check_model(const Json& model) const {
    const auto type = core::get_or<std::string>(model, "/type", path_, "BPE");
    if (type != "BPE") {
      throw core::Error(core::ErrorKind::kData, "tokenizer model of type " + type + " is not supported")
          .where(path_)
          .pointer("/model/type")
          .expected("BPE");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto text = core::get_or<std::string>(model, std::string("/") + key, path_, "");
      if (!text.empty())
        fail(std::string(key) + " of a BPE model is not supported", std::string("/model/") + key, text);
    }
    const double dropout = core::get_or<double>(model, "/dropout", path_, 0.0);
    if (dropout != 0)
      fail("dropout of a BPE model is not supported", "/model/dropout", std::to_string(dropout));
  }

  int32_t checked_id(const Json& value, const std::string& pointer) const {
    const bool fits = value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() < kMaxId;
    if (!fits)
      fail("a token id must be a whole number from 0 to " + std::to_string(kMaxId - 1), pointer,
           core::dump_json(value));
    return static_cast<int32_t>(value.get<int64_t>());
  }

  void read_vocabulary(const Json& model, BpeTables& t) {
    const Json& vocabulary = member(model, "vocab", "/model/vocab");
    if (!vocabulary.is_object() || vocabulary.empty())
      fail("the vocabulary must be an object with tokens", "/model/vocab");
    t.vocabulary.reserve(vocabulary.size());
    for (const auto& [text, value] : vocabulary.items()) {
      const int32_t id = checked_id(value, "/model/vocab, token '" + text + "'");
      if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(static_cast<size_t>(id) + 1);
      std::string& slot = texts_[static_cast<size_t>(id)];
      if (!slot.empty())
        fail("two tokens have the id " + std::to_string(id), "/model/vocab",
             "'" + slot + "' and '" + text + "'");
      slot = text;
      t.vocabulary.emplace(text, id);
    }
    if (const auto unknown = core::get_or<std::string>(model, "/unk_token", path_, ""); !unknown.empty()) {
      t.unknown_id = vocabulary_id(t, unknown, "/model/unk_token");
    }
  }

  int32_t vocabulary_id(const BpeTables& t, std::string_view text, const std::string& pointer) const {
    const auto found = t.vocabulary.find(text);
    if (found == t.vocabulary.end())
      fail("a token is not in the vocabulary", pointer, "'" + std::string(text) + "'");
    return found->second;
  }

  void read_merges(const Json& model, BpeTables& t) const {
    const Json& merges = member(model, "merges", "/model/merges");
    if (!merges.is_array()) fail("the merges must be a list", "/model/merges");
    t.merges.reserve(merges.size());
    std::string joined;
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto at = [&] { return "/model/merges/" + std::to_string(i); };
      const Json& merge = merges[i];
      std::string_view left, right;
      if (merge.is_string()) {
        const std::string_view text = merge.get_ref<const std::string&>();
        const size_t space = text.find(' ');
        if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
          fail("a merge must be two tokens with a space between", at(), std::string(text));
        }
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get_ref<const std::string&>();
        right = merge[1].get_ref<const std::string&>();
      } else {
        fail("a merge must be \"a b\" or [\"a\", \"b\"]", at(), core::dump_json(merge));
      }
      joined.assign(left).append(right);
      const auto id_of = [&](std::string_view text) {
        const auto found = t.vocabulary.find(text);
        return found != t.vocabulary.end() ? found->second : vocabulary_id(t, text, at());
      };
      t.merges.insert(id_of(left), id_of(right), {static_cast<int32_t>(i), id_of(joined)});
    }
  }

  void read_added_tokens(BpeTables& t) {
    const auto list = json_.find("added_tokens");
    if (list == json_.end() || list->is_null()) return;
    if (!list->is_array()) fail("the added tokens must be a list", "/added_tokens");
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string pointer = "/added_tokens/" + std::to_string(i);
      const Json& json = (*list)[i];
      AddedToken token;
      token.id = checked_id(member(json, "id", pointer + "/id"), pointer + "/id");
      token.content = core::get_required<std::string>(json, "/content", path_);
      token.special = core::get_or<bool>(json, "/special", path_, false);
      token.lstrip = core::get_or<bool>(json, "/lstrip", path_, false);
      token.rstrip = core::get_or<bool>(json, "/rstrip", path_, false);
      token.single_word = core::get_or<bool>(json, "/single_word", path_, false);
      token.normalized = core::get_or<bool>(json, "/normalized", path_, !token.special);
      add_token(token, pointer, t);
    }
  }

  void add_token(const AddedToken& token, const std::string& pointer, BpeTables& t) {
    if (token.content.empty()) fail("an added token is empty", pointer);
    const auto id = static_cast<size_t>(token.id);
    if (id >= texts_.size()) texts_.resize(id + 1);
    const auto in_vocabulary = t.vocabulary.find(token.content);
    if ((!texts_[id].empty() && texts_[id] != token.content) ||
        (in_vocabulary != t.vocabulary.end() && in_vocabulary->second != token.id)) {
      fail("an added token and the vocabulary disagree about id " + std::to_string(token.id), pointer,
           "'" + token.content + "' and '" + texts_[id] + "'");
    }
    texts_[id] = token.content;
    t.added.emplace(token.content, token.id);
    added_ids_.push_back(token);
    const std::string match = token.normalized ? t.normalizer.apply(token.content) : token.content;
    if (!match.empty()) (token.normalized ? t.normalized_tokens : t.raw_tokens).add(token, match);
  }

  // What each token stands for, and the token of each byte.
  void read_bytes(BpeTables& t) const {
    t.bytes_by_id.resize(texts_.size());
    t.special_by_id.resize(texts_.size());
    t.byte_ids.fill(-1);
    for (size_t id = 0; id < texts_.size(); ++id) {
      t.bytes_by_id[id] = t.decoder.byte_level ? from_alphabet(texts_[id]).value_or(texts_[id])
                                               : from_characters(texts_[id], t.decoder);
    }
    for (const auto& [text, id] : t.vocabulary) {
      const std::optional<std::string> word = t.decoder.byte_level ? from_alphabet(text) : text;
      if (!word) continue;  // can only come from a text as an added token
      int byte = -1;
      if (!t.decoder.byte_level) byte = byte_token(text);
      if (t.decoder.byte_level && word->size() == 1) byte = static_cast<unsigned char>(word->front());
      if (byte >= 0) t.byte_ids[static_cast<size_t>(byte)] = id;
      if (t.ignore_merges) t.whole_words.emplace(*word, id);
    }
    for (const AddedToken& token : added_ids_) {
      const auto id = static_cast<size_t>(token.id);
      t.special_by_id[id] = t.special_by_id[id] || token.special;
      if (t.decoder.byte_level) t.bytes_by_id[id] = token.content;  // added tokens are written as they are
    }
  }

  // The bytes that a token of a byte-level vocabulary is written for; none if it has other characters.
  std::optional<std::string> from_alphabet(const std::string& text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const auto found = alphabet_.find(next_char(text, at));
      if (found == alphabet_.end()) return std::nullopt;
      out += static_cast<char>(found->second);
    }
    return out;
  }

  // The value of "<0x0A>"; -1 for any other text.
  static int byte_token(const std::string& text) {
    unsigned value = 0;
    char end = 0;
    if (text.size() != 6 || text.compare(0, 3, "<0x") != 0 ||
        std::sscanf(text.c_str() + 3, "%2x%c", &value, &end) != 2)
      return -1;
    return end == '>' ? static_cast<int>(value) : -1;
  }

  static std::string from_characters(const std::string& text, const Decoder& decoder) {
    std::string out = text;
    for (const auto& [from, to] : decoder.replaces) out = replace_all(out, from, to);
    const int byte = decoder.byte_fallback ? byte_token(out) : -1;
    return byte < 0 ? out : std::string(1, static_cast<char>(byte));
  }

  void read_post_processor(const Json& json, const std::string& pointer, BpeTables& t) const {
    const auto type = core::get_required<std::string>(json, "/type", path_);
    if (type == "ByteLevel") return;  // changes offsets alone
    if (type == "Sequence") {
      const Json& list = member(json, "processors", pointer + "/processors");
      if (!list.is_array()) fail("a Sequence has no list", pointer);
      for (size_t i = 0; i < list.size(); ++i)
        read_post_processor(list[i], pointer + "/processors/" + std::to_string(i), t);
      return;
    }
    if (type != "TemplateProcessing") {
      throw core::Error(core::ErrorKind::kData, "post-processor of type " + type + " is not supported")
          .where(path_)
          .pointer(pointer)
          .expected("TemplateProcessing, ByteLevel or a Sequence of them");
    }
    const Json& single = member(json, "single", pointer + "/single");
    if (!single.is_array()) fail("a template must be a list", pointer + "/single");
    bool after_text = false;
    for (const Json& part : single) {
      if (part.is_object() && part.contains("Sequence")) {
        if (after_text) fail("a template that repeats the text is not supported", pointer + "/single");
        after_text = true;
        continue;
      }
      const auto name = core::get_required<std::string>(part, "/SpecialToken/id", path_);
      const Json& entry = member(member(json, "special_tokens", pointer + "/special_tokens"), name.c_str(),
                                 pointer + "/special_tokens/" + name);
      for (const Json& id : member(entry, "ids", pointer + "/special_tokens/" + name + "/ids")) {
        (after_text ? t.after : t.before).push_back(checked_id(id, pointer));
      }
    }
  }

  const std::string& path_;
  const Json& json_;
  const std::map<uint32_t, unsigned char> alphabet_;
  std::vector<std::string> texts_;  // by id
  std::vector<AddedToken> added_ids_;
};

}  // namespace

std::shared_ptr<const Tokenizer> load_byte_bpe(const std::string& path, const NamedTokens& named) {
  const Json json = core::read_json_file(path);
  PAN_CHECK(json.is_object(), kData, "a tokenizer file must hold an object").where(path);
  return std::make_shared<BpeTokenizer>(Loader(path, json).load(named));
}

}  // namespace pan::tokenizer
