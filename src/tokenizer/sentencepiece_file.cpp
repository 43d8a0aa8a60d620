#include "tokenizer/sentencepiece_file.h"

#include <unordered_set>

#include "core/error.h"

namespace pan::tokenizer {
namespace {

// Numbers of the fields in sentencepiece_model.proto.
enum ModelField { kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5 };
enum PieceField { kPieceText = 1, kPieceType = 3 };
enum TrainerField { kWhitespaceAsSuffix = 24, kUnknownSurface = 44 };
enum NormalizerField { kCharsMap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4 };

// One message: fields one after the other.
class Message {
 public:
  Message(std::string_view file, size_t begin, size_t end, const std::string& path)
      : file_(file), at_(begin), end_(end), path_(path) {}

  uint64_t field = 0;                     // number of the present field
  uint64_t value = 0;                     // of a varint field
  size_t value_begin = 0, value_end = 0;  // bytes of the value

  bool next() {
    if (at_ == end_) return false;
    const uint64_t tag = varint();
    field = tag >> 3;
    if (field == 0) fail();
    size_t length = 0;
    value_begin = at_;
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        length = 8;
        break;
      case 2:
        length = checked_length(varint());
        value_begin = at_;
        break;
      case 5:
        length = 4;
        break;
      default:
        fail();
    }
    if (length > end_ - at_) fail();
    at_ += length;
    value_end = at_;
    is_bytes_ = (tag & 7) == 2;
    is_varint_ = (tag & 7) == 0;
    return true;
  }

  std::string_view bytes() const {
    if (!is_bytes_) fail();
    return file_.substr(value_begin, value_end - value_begin);
  }
  Message message() const {
    if (!is_bytes_) fail();
    return {file_, value_begin, value_end, path_};
  }
  uint64_t number() const {
    if (!is_varint_) fail();
    return value;
  }

  [[noreturn]] void fail() const {
    throw core::Error(core::ErrorKind::kData, "not a sentencepiece model, or a damaged one")
        .where(path_)
        .pointer("byte " + std::to_string(at_))
        .remedy("Copy or download the file again");
  }

 private:
  size_t checked_length(uint64_t length) const {
    if (length > end_ - at_) fail();
    return static_cast<size_t>(length);
  }

  uint64_t varint() {
    uint64_t out = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) fail();
      const auto byte = static_cast<unsigned char>(file_[at_++]);
      out |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return out;
    }
    fail();
  }

  std::string_view file_;
  size_t at_, end_;
  const std::string& path_;
  bool is_bytes_ = false, is_varint_ = false;
};

Piece read_piece(Message m) {
  Piece piece;
  while (m.next()) {
    if (m.field == kPieceText) piece.text = m.bytes();
    if (m.field != kPieceType) continue;
    if (m.number() < 1 || m.number() > 6 || m.value_end - m.value_begin != 1) m.fail();
    piece.type = static_cast<PieceType>(m.number());
    piece.type_offset = m.value_begin;
  }
  if (piece.text.empty()) m.fail();
  return piece;
}

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t out = 0;
  for (size_t i = 4; i-- > 0;) out = (out << 8) | static_cast<unsigned char>(bytes[at + i]);
  return out;
}

// A size, a trie of that many bytes, then zero-terminated strings. The library walks the trie (a double array
// of 32-bit units) without looking at its ends, so a damaged one would make it read anywhere: every step from
// every unit must stay within.
void check_chars_map(const Message& m) {
  const std::string_view map = m.bytes();
  if (map.empty()) return;
  if (map.size() < 8 || map.back() != '\0') m.fail();
  const size_t trie_size = little_endian(map, 0);
  if (trie_size == 0 || trie_size % 4 != 0 || trie_size > map.size() - 5) m.fail();
  const size_t num_units = trie_size / 4, num_text = map.size() - 4 - trie_size;
  for (size_t i = 0; i < num_units; ++i) {
    const uint32_t unit = little_endian(map, 4 + 4 * i);
    const bool is_value = (unit >> 31) != 0;
    const size_t offset = static_cast<size_t>(unit >> 10) << ((unit & 0x200) >> 6);
    if (is_value ? (unit & 0x7FFFFFFF) >= num_text : ((i ^ offset) | 0xFF) >= num_units) m.fail();
  }
}

void read_normalizer(Message m, SentencePieceFile& file) {
  while (m.next()) {
    if (m.field == kCharsMap) check_chars_map(m);
    if (m.field == kAddDummyPrefix) file.add_dummy_prefix = m.number() != 0;
    if (m.field == kRemoveExtraWhitespaces) file.remove_extra_whitespaces = m.number() != 0;
  }
}

void read_trainer(Message m, SentencePieceFile& file) {
  while (m.next()) {
    if (m.field == kWhitespaceAsSuffix) file.treat_whitespace_as_suffix = m.number() != 0;
    if (m.field == kUnknownSurface) file.unknown_surface = m.bytes();
  }
}

void check_pieces(const SentencePieceFile& file, const std::string& path) {
  std::unordered_set<std::string_view> seen;
  int num_unknown = 0;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    const Piece& piece = file.pieces[id];
    PAN_CHECK(seen.insert(piece.text).second, kData, "a sentencepiece model has the same piece twice")
        .where(path)
        .pointer("piece " + std::to_string(id))
        .got("'" + piece.text + "'");
    num_unknown += piece.type == PieceType::kUnknown ? 1 : 0;
  }
  PAN_CHECK(num_unknown == 1, kData, "a sentencepiece model must have one piece for what is unknown")
      .where(path)
      .got(std::to_string(num_unknown));
}

}  // namespace

SentencePieceFile parse_sentencepiece(std::string_view bytes, const std::string& path) {
  SentencePieceFile file;
  Message m(bytes, 0, bytes.size(), path);
  bool trained = false;  // the trainer's part follows the pieces; a file cut off between two pieces lacks it
  while (m.next()) {
    trained = trained || m.field == kTrainer;
    if (m.field == kPieces) file.pieces.push_back(read_piece(m.message()));
    if (m.field == kTrainer) read_trainer(m.message(), file);
    if (m.field == kNormalizer) read_normalizer(m.message(), file);
    if (m.field != kDenormalizer) continue;
    for (Message d = m.message(); d.next();)
      file.denormalizes = file.denormalizes || (d.field == kCharsMap && !d.bytes().empty());
  }
  if (file.pieces.empty() || !trained) m.fail();
  check_pieces(file, path);
  return file;
}

std::string without_symbols(std::string bytes, const SentencePieceFile& file, const std::vector<size_t>& ids,
                            bool dummy_prefix) {
  // As control symbols they keep their ids but are never looked for in a text.
  for (const size_t id : ids) bytes[file.pieces[id].type_offset] = static_cast<char>(PieceType::kControl);
  if (!dummy_prefix) {
    // Messages of one field that occurs twice are merged, so this alters nothing but the one setting.
    constexpr char kSetting[] = {(kNormalizer << 3) | 2, 2, kAddDummyPrefix << 3, 0};
    bytes.append(kSetting, sizeof kSetting);
  }
  return bytes;
}

}  // namespace pan::tokenizer
