// A tokenizer whose token i is two letters, for tests of generation.
#pragma once

#include <string>
#include <vector>

#include "pan/tokenizer.h"

namespace pan::rollout {

class FakeTokenizer : public tokenizer::Tokenizer {
 public:
  explicit FakeTokenizer(int64_t vocab_size) : vocab_size_(vocab_size) {}

  std::vector<int64_t> encode(std::string_view, const tokenizer::EncodeOptions&) const override { return {}; }
  std::string decode(const std::vector<int64_t>& ids, bool) const override {
    std::string out;
    for (int64_t id : ids) out += token_bytes(id);
    return out;
  }
  std::string token_bytes(int64_t id) const override {
    return {static_cast<char>('a' + id % 26), static_cast<char>('A' + id / 26)};
  }
  int64_t vocab_size() const override { return vocab_size_; }
  bool is_special(int64_t) const override { return false; }
  int64_t id_of(std::string_view) const override { return -1; }
  int64_t bos_id() const override { return -1; }
  int64_t eos_id() const override { return -1; }

 private:
  int64_t vocab_size_;
};

}  // namespace pan::rollout
