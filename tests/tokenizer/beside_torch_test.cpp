// Both libsentencepiece and LibTorch carry a copy of the protocol buffer library; in one process each must
// use its own.
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/json.h"
#include "pan/tokenizer.h"
#include "support/support.h"

namespace pan::tokenizer {
namespace {

TEST(BesideTorch, SentencePieceLoadsAndEncodes) {
  EXPECT_EQ(at::ones({3, 4}).sum().item<float>(), 12.0F);
  const std::string folder = pan::testing::fixture("tokenizer/sp_nfkc");
  const auto tok = load(folder);
  const auto texts = core::read_json_file(pan::testing::fixture("tokenizer/texts.json"));
  const auto rows = core::read_json_file(folder + "/expected.json")["rows"];
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(tok->encode(texts[i].get<std::string>()), rows[i]["ids"].get<std::vector<int64_t>>());
  }
}

}  // namespace
}  // namespace pan::tokenizer
