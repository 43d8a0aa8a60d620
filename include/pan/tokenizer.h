// Text to token ids and back.
//
//   auto tok = pan::tokenizer::load("model_folder");
//   auto ids = tok->encode("Hello", {.allow_special = false});
//   std::string text = tok->decode(ids);
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pan::tokenizer {

struct EncodeOptions {
  // Special tokens written in the text become their ids (as transformers' tokenizers do; in a sentencepiece
  // model these are its user-defined symbols, control symbols such as </s> never come out of a text). With
  // false, the text of a special token is tokenised as ordinary text; use it for anything a user or a data
  // set wrote. Added tokens that are not special are recognised either way.
  bool allow_special = true;
  // Adds what the tokenizer's post-processor would add (beginning-of-text). Chat templates write their own.
  bool add_special = false;
};

// A stretch of a longer text. One text may mix what a template wrote with what a user wrote.
struct TextPart {
  std::string text;
  bool allow_special = true;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<int64_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // Encodes the concatenation of the parts as one text (merges cross the borders, as they do when a rendered
  // chat is tokenised), but a special token is recognised only where it lies wholly in parts that allow it.
  // Control symbols of a sentencepiece model are recognised there too. The default encodes part by part.
  virtual std::vector<int64_t> encode_parts(const std::vector<TextPart>& parts) const;

  // All ids to text; special tokens are written out unless skip_special. Bytes that are not UTF-8 stay as
  // they are.
  virtual std::string decode(const std::vector<int64_t>& ids, bool skip_special = false) const = 0;

  // The bytes that token `id` adds to a decoded text (in the middle of a text; sentencepiece's word mark is a
  // space). Concatenated over a sequence they give the decoded bytes; special tokens give none.
  virtual std::string token_bytes(int64_t id) const = 0;

  virtual int64_t vocab_size() const = 0;  // largest id + 1
  virtual bool is_special(int64_t id) const = 0;
  virtual int64_t id_of(std::string_view token) const = 0;  // exact token text; -1 where there is none
  virtual int64_t bos_id() const = 0;                       // -1 where there is none
  virtual int64_t eos_id() const = 0;
};

// Bytes in, whole UTF-8 characters out: what is printed while tokens arrive. A character that is split over
// tokens comes out with its last byte; flush() returns what is left.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int64_t id);
  std::string flush();

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

// From a model folder (tokenizer.json before tokenizer.model) or one of these files. Errors: kData: nothing
// found (with what was looked for), corrupt, or a component we do not support (named).
std::shared_ptr<const Tokenizer> load(const std::string& path);

}  // namespace pan::tokenizer
