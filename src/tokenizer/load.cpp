#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "pan/tokenizer.h"
#include "tokenizer/byte_bpe.h"
#include "tokenizer/model_files.h"
#include "tokenizer/sentencepiece.h"

namespace pan::tokenizer {
namespace {

std::shared_ptr<const Tokenizer> load_json(const std::string& path) {
  return load_byte_bpe(path, read_named_tokens(folder_of(path)));
}

std::shared_ptr<const Tokenizer> load_model(const std::string& path) {
  const std::string folder = folder_of(path);
  const AddedAtEnds added = read_added_at_ends(folder);
  return load_sentencepiece(
      path, {.special_texts = read_special_texts(folder), .add_bos = added.bos, .add_eos = added.eos});
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

}  // namespace

std::shared_ptr<const Tokenizer> load(const std::string& path) {
  PAN_CHECK(core::exists(path), kData, "there is no such tokenizer file or model folder")
      .where(path)
      .expected("a model folder, tokenizer.json or tokenizer.model")
      .got("nothing of that name")
      .remedy("Check the path");
  if (!core::is_folder(path)) {
    if (ends_with(path, ".json")) return load_json(path);
    if (ends_with(path, ".model")) return load_model(path);
    throw core::Error(core::ErrorKind::kData, "a tokenizer file is known by the end of its name")
        .where(path)
        .expected("a folder, a .json file (tokenizer.json) or a .model file (sentencepiece)");
  }
  if (core::exists(path + "/tokenizer.json")) return load_json(path + "/tokenizer.json");
  if (core::exists(path + "/tokenizer.model")) return load_model(path + "/tokenizer.model");
  const bool old_files = core::exists(path + "/vocab.json") && core::exists(path + "/merges.txt");
  throw core::Error(core::ErrorKind::kData, "the folder holds no tokenizer")
      .where(path)
      .expected("tokenizer.json or tokenizer.model")
      .got(old_files ? "vocab.json and merges.txt, which are not read" : "neither")
      .remedy(old_files ? "Save the tokenizer with transformers' save_pretrained, which writes tokenizer.json"
                        : "Copy the tokenizer's files into it from where the model came");
}

}  // namespace pan::tokenizer
