#include "pan/tokenizer.h"

#include "tokenizer/unicode.h"

namespace pan::tokenizer {

std::vector<int64_t> Tokenizer::encode_parts(const std::vector<TextPart>& parts) const {
  std::vector<int64_t> out;
  for (const TextPart& part : parts) {
    const auto ids = encode(part.text, {.allow_special = part.allow_special});
    out.insert(out.end(), ids.begin(), ids.end());
  }
  return out;
}

std::string StreamDecoder::push(int64_t id) {
  pending_ += tokenizer_.token_bytes(id);
  // Everything but a character that has only begun at the very end; bytes that cannot become one are passed
  // on.
  size_t keep = 0;
  for (size_t tail = 1; tail <= 3 && tail <= pending_.size(); ++tail) {
    if (is_incomplete_character(std::string_view(pending_).substr(pending_.size() - tail))) keep = tail;
  }
  std::string out = pending_.substr(0, pending_.size() - keep);
  pending_.erase(0, out.size());
  return out;
}

std::string StreamDecoder::flush() {
  std::string out;
  out.swap(pending_);
  return out;
}

}  // namespace pan::tokenizer
