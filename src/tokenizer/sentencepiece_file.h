// What we need to know of a sentencepiece model file, which the library does not tell. The file is a protocol
// buffer message (sentencepiece_model.proto); only its wire format is read here, with every length checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pan::tokenizer {

enum class PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Piece {
  std::string text;
  PieceType type = PieceType::kNormal;
  size_t type_offset = 0;  // byte of the file that holds the type; 0 where it is left out
};

struct SentencePieceFile {
  std::vector<Piece> pieces;  // by id
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool treat_whitespace_as_suffix = false;
  bool denormalizes = false;
  std::string unknown_surface = " \xE2\x81\x87 ";
};

// Errors: kData where `bytes` are not such a message.
SentencePieceFile parse_sentencepiece(std::string_view bytes, const std::string& path);

// The same model in which the user-defined symbols `ids` never come out of a text, and with or without the
// space that is put before every text.
std::string without_symbols(std::string bytes, const SentencePieceFile& file, const std::vector<size_t>& ids,
                            bool dummy_prefix);

}  // namespace pan::tokenizer
