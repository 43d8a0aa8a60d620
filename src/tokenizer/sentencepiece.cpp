#include "tokenizer/sentencepiece.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/normalize.h"
#include "tokenizer/sentencepiece_file.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

constexpr std::string_view kWordMark = "\xE2\x96\x81";  // U+2581, a space in the text

std::unique_ptr<sentencepiece::SentencePieceProcessor> make_processor(const std::string& bytes,
                                                                      const std::string& path) {
  auto out = std::make_unique<sentencepiece::SentencePieceProcessor>();
  const auto status = out->LoadFromSerializedProto(bytes);
  PAN_CHECK(status.ok(), kData, "the sentencepiece library refuses the model")
      .where(path)
      .got(status.ToString());
  return out;
}

bool looks_special(const std::string& text) {
  return text.size() > 4 && text.compare(0, 2, "<|") == 0 && text.compare(text.size() - 2, 2, "|>") == 0;
}

// A processor that is made when it is first needed.
class Lazy {
 public:
  template <class Make>
  const sentencepiece::SentencePieceProcessor& get(const Make& make) {
    std::call_once(once_, [&] { processor_ = make(); });
    return *processor_;
  }

 private:
  std::once_flag once_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string bytes, std::string path, const SentencePieceOptions& options)
      : bytes_(std::move(bytes)),
        path_(std::move(path)),
        options_(options),
        file_(parse_sentencepiece(bytes_, path_)) {
    PAN_CHECK(!file_.treat_whitespace_as_suffix, kData,
              "sentencepiece models with treat_whitespace_as_suffix are not supported")
        .where(path_);
    PAN_CHECK(!file_.denormalizes, kData, "sentencepiece models with a denormaliser are not supported")
        .where(path_);
    processor_ = make_processor(bytes_, path_);
    PAN_CHECK(static_cast<size_t>(processor_->GetPieceSize()) == file_.pieces.size(), kData,
              "the sentencepiece library reads another number of pieces than there are")
        .where(path_)
        .expected(std::to_string(file_.pieces.size()))
        .got(std::to_string(processor_->GetPieceSize()));
    index_pieces();
  }

  std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options) const override {
    Ids out;
    const bool add_bos = options.add_special && options_.add_bos && bos_id() >= 0;
    const bool add_eos = options.add_special && options_.add_eos && eos_id() >= 0;
    if (add_bos) out.push_back(bos_id());
    append(options.allow_special ? *processor_ : plain(/*dummy_prefix=*/true), text, out);
    if (add_eos) out.push_back(eos_id());
    return out;
  }

  std::vector<int64_t> encode_parts(const std::vector<TextPart>& parts) const override {
    std::string text;
    std::vector<bool> allowed;  // by byte
    for (const TextPart& part : parts) {
      text += part.text;
      allowed.resize(text.size(), part.allow_special);
    }
    const auto may_be_special = [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        if (!allowed[i]) return false;
      }
      return true;
    };
    Ids out;
    // Markers never contain bytes that are not UTF-8, so these are left to the library, which replaces them.
    if (valid_prefix(text) != text.size()) return Tokenizer::encode_parts(parts);
    for (const Segment& s : markers_.split(text, may_be_special)) {
      if (s.id >= 0) {
        out.push_back(s.id);
      } else {
        append(plain(file_.add_dummy_prefix && s.begin == 0),
               std::string_view(text).substr(s.begin, s.end - s.begin), out);
      }
    }
    return out;
  }

  // As the library does it; see sentencepiece.h for the differences.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special) const override {
    std::string out;
    bool at_start = true, mark_seen = false;
    for (const int64_t id : ids) {
      if (!known(id)) continue;
      const Piece& piece = file_.pieces[static_cast<size_t>(id)];
      if (piece.type == PieceType::kByte) {
        out += bytes_by_id_[static_cast<size_t>(id)];
        continue;
      }
      if (mark_seen || !out.empty()) at_start = false;
      mark_seen = false;
      if (is_special(id)) {
        if (!skip_special) out += piece.type == PieceType::kUnknown ? file_.unknown_surface : piece.text;
        continue;
      }
      std::string_view text = piece.text;
      const bool leading = at_start && (file_.add_dummy_prefix || file_.remove_extra_whitespaces);
      if (leading && text.substr(0, kWordMark.size()) == kWordMark) {
        text.remove_prefix(kWordMark.size());
        mark_seen = !file_.remove_extra_whitespaces;
      }
      out += replace_all(text, kWordMark, " ");
    }
    return out;
  }

  std::string token_bytes(int64_t id) const override {
    return known(id) ? bytes_by_id_[static_cast<size_t>(id)] : "";
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(file_.pieces.size()); }
  bool is_special(int64_t id) const override { return known(id) && special_[static_cast<size_t>(id)]; }
  int64_t id_of(std::string_view token) const override {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }
  int64_t bos_id() const override { return processor_->bos_id(); }
  int64_t eos_id() const override { return processor_->eos_id(); }

 private:
  using Ids = std::vector<int64_t>;
  bool known(int64_t id) const { return id >= 0 && id < vocab_size(); }

  void index_pieces() {
    bytes_by_id_.resize(file_.pieces.size());
    special_.resize(file_.pieces.size());
    for (size_t id = 0; id < file_.pieces.size(); ++id) {
      const Piece& piece = file_.pieces[id];
      ids_.emplace(piece.text, static_cast<int64_t>(id));
      const auto& listed = options_.special_texts;
      const bool special_symbol =
          piece.type == PieceType::kUserDefined &&
          (looks_special(piece.text) || std::find(listed.begin(), listed.end(), piece.text) != listed.end());
      const bool control = piece.type == PieceType::kControl;
      special_[id] = special_symbol || control || piece.type == PieceType::kUnknown;
      if (special_symbol) special_symbols_.push_back(id);
      if (special_symbol || control) {
        markers_.add({.id = static_cast<int32_t>(id), .content = piece.text, .special = true}, piece.text);
      }
      if (special_[id]) continue;
      if (piece.type == PieceType::kByte) {
        bytes_by_id_[id] = std::string(1, static_cast<char>(byte_of(piece, id)));
      } else {
        bytes_by_id_[id] = replace_all(piece.text, kWordMark, " ");
      }
    }
  }

  // Byte pieces are written "<0x0A>".
  int byte_of(const Piece& piece, size_t id) const {
    const std::string& t = piece.text;
    const auto hex = [](char c) {
      return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    const bool fits =
        t.size() == 6 && t.compare(0, 3, "<0x") == 0 && t[5] == '>' && hex(t[3]) >= 0 && hex(t[4]) >= 0;
    PAN_CHECK(fits, kData, "a byte piece of a sentencepiece model has another form than <0x00>")
        .where(path_)
        .pointer("piece " + std::to_string(id))
        .got(t);
    return hex(t[3]) * 16 + hex(t[4]);
  }

  // The model without its special symbols.
  const sentencepiece::SentencePieceProcessor& plain(bool dummy_prefix) const {
    const bool same = special_symbols_.empty() && dummy_prefix == file_.add_dummy_prefix;
    if (same) return *processor_;
    return (dummy_prefix ? plain_first_ : plain_later_).get([&] {
      return make_processor(without_symbols(bytes_, file_, special_symbols_, dummy_prefix), path_);
    });
  }

  void append(const sentencepiece::SentencePieceProcessor& processor, std::string_view text, Ids& out) const {
    std::vector<int> ids;
    const auto status = processor.Encode({text.data(), text.size()}, &ids);
    PAN_CHECK(status.ok(), kData, "the sentencepiece library cannot encode a text")
        .where(path_)
        .got(status.ToString());
    out.insert(out.end(), ids.begin(), ids.end());
  }

  std::string bytes_, path_;
  SentencePieceOptions options_;
  SentencePieceFile file_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  mutable Lazy plain_first_, plain_later_;
  std::unordered_map<std::string_view, int64_t> ids_;
  std::vector<std::string> bytes_by_id_;
  std::vector<bool> special_;
  std::vector<size_t> special_symbols_;
  AddedTokens markers_;
};

}  // namespace

std::shared_ptr<const Tokenizer> load_sentencepiece(const std::string& path,
                                                    const SentencePieceOptions& options) {
  return std::make_shared<SentencePieceTokenizer>(core::read_file(path), path, options);
}

}  // namespace pan::tokenizer
