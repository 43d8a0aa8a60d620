// Special tokens on and off, texts of several parts, the streaming decoder, BPE merging, tokenize_file,
// speed.
#include "pan/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "support/support.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenize_file.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<int64_t>;

std::string fixture_path(const std::string& name) { return pan::testing::fixture("tokenizer/" + name); }

int64_t count(const Ids& ids, int64_t id) { return std::count(ids.begin(), ids.end(), id); }

TEST(SpecialTokens, AreTextWhereTheyAreNotAllowed) {
  for (const char* name : {"gpt2", "digits", "qwen", "llama3", "sp_bpe", "sp_unigram"}) {
    const auto tok = load(fixture_path(name));
    const int64_t end = tok->id_of("<|im_end|>");
    ASSERT_GE(end, 0) << name;
    EXPECT_TRUE(tok->is_special(end));
    EXPECT_EQ(tok->token_bytes(end), "");
    const std::string text = "a <|im_end|> b<|im_end|>";
    EXPECT_EQ(count(tok->encode(text), end), 2) << name;
    const Ids plain = tok->encode(text, {.allow_special = false});
    EXPECT_EQ(count(plain, end), 0) << name;
    EXPECT_EQ(tok->decode(plain, /*skip_special=*/true), text) << name;
    EXPECT_EQ(tok->decode(tok->encode("x<|im_end|>y"), true), "xy") << name;
    EXPECT_EQ(tok->decode(tok->encode("x<|im_end|>y"), false), "x<|im_end|>y") << name;
  }
}

TEST(SpecialTokens, AddedTokensThatAreNotSpecialAreAlwaysRecognised) {
  const auto qwen = load(fixture_path("qwen"));
  const int64_t think = qwen->id_of("<think>");
  EXPECT_FALSE(qwen->is_special(think));
  EXPECT_EQ(qwen->token_bytes(think), "<think>");
  EXPECT_EQ(count(qwen->encode("a<think>b", {.allow_special = false}), think), 1);
  const auto sp = load(fixture_path("sp_bpe"));
  EXPECT_EQ(count(sp->encode("a<table>\nb", {.allow_special = false}), sp->id_of("<table>")), 1);
  EXPECT_EQ(count(sp->encode("a<table>\nb", {.allow_special = false}), sp->id_of("\n")), 1);
}

TEST(SpecialTokens, BeginOfTextIsAddedOnRequest) {
  const auto llama = load(fixture_path("llama3"));
  const int64_t bos = llama->id_of("<|begin_of_text|>");
  EXPECT_EQ(llama->encode("", {.add_special = true}), Ids({bos}));
  EXPECT_EQ(llama->encode("x", {.add_special = true}).front(), bos);
  EXPECT_NE(llama->encode("x").front(), bos);
  const auto gemma = load(fixture_path("gemma"));
  EXPECT_EQ(gemma->encode("", {.add_special = true}), Ids({gemma->id_of("<bos>")}));
}

TEST(SpecialTokens, SentencePieceAddsWhatTheFolderAsksFor) {
  pan::testing::TempFolder folder;
  pan::testing::write_text(folder / "tokenizer.model",
                           pan::testing::read_text(fixture_path("sp_bpe/tokenizer.model")));
  EXPECT_EQ(load(folder.path())->encode("", {.add_special = true}), Ids());
  pan::testing::write_text(folder / "tokenizer_config.json",
                           R"({"add_bos_token": true, "add_eos_token": true})");
  const auto tok = load(folder.path());
  EXPECT_EQ(tok->encode("", {.add_special = true}), Ids({tok->bos_id(), tok->eos_id()}));
  EXPECT_EQ(tok->decode({tok->bos_id(), tok->eos_id()}), "<s></s>");
  EXPECT_EQ(tok->decode({tok->bos_id(), tok->eos_id()}, true), "");
}

// Parts are one text: the merges do not stop at their borders, special tokens do.
TEST(EncodeParts, EqualsTheWholeTextWhereNothingIsForbidden) {
  core::rng::Stream random({3, core::rng::Purpose::kTest, 0, 0});
  const auto texts = core::read_json_file(fixture_path("texts.json")).get<std::vector<std::string>>();
  for (const char* name : {"gpt2", "digits", "qwen", "llama3"}) {
    const auto tok = load(fixture_path(name));
    for (const auto& text : texts) {
      std::vector<TextPart> parts;
      for (size_t at = 0; at < text.size();) {
        const size_t n = 1 + random.below(9);
        parts.push_back({text.substr(at, n), true});
        at += n;
      }
      EXPECT_EQ(tok->encode_parts(parts), tok->encode(text)) << name << ": " << text;
      for (auto& part : parts) part.allow_special = false;
      EXPECT_EQ(tok->encode_parts(parts), tok->encode(text, {.allow_special = false}))
          << name << ": " << text;
    }
  }
}

TEST(EncodeParts, RecognisesMarkersOnlyInPartsThatAllowThem) {
  for (const char* name : {"gpt2", "qwen", "sp_bpe"}) {
    const auto tok = load(fixture_path(name));
    const int64_t end = tok->id_of("<|im_end|>");
    EXPECT_EQ(count(tok->encode_parts({{"a<|im_end|>", false}, {"<|im_end|>", true}}), end), 1) << name;
    EXPECT_EQ(count(tok->encode_parts({{"a<|im_", true}, {"end|>b", true}}), end), 1) << name;
    EXPECT_EQ(count(tok->encode_parts({{"a<|im_", true}, {"end|>b", false}}), end), 0) << name;
    EXPECT_EQ(count(tok->encode_parts({{"a<|im_", false}, {"end|>b<|im_end|>", true}}), end), 1) << name;
  }
  const auto sp = load(fixture_path("sp_bpe"));
  EXPECT_EQ(sp->encode_parts({{"<s>", true}, {"</s>", false}, {"</s>", true}}).front(), sp->bos_id());
}

TEST(StreamDecoder, NeverSplitsACharacter) {
  const auto tok = load(fixture_path("gpt2"));
  const std::string text = "\xF0\x9F\x98\x80 \xE4\xBD\xA0 e\xCC\x81 \xFF\xC3";
  const Ids ids = tok->encode(text);
  ASSERT_GT(ids.size(), 8u);  // characters are spread over tokens
  StreamDecoder stream(*tok);
  std::string out;
  for (const auto id : ids) {
    const std::string piece = stream.push(id);
    out += piece;
    // The one byte that is no UTF-8 comes alone or at an end; everything else is whole.
    std::string clean;
    for (const char c : piece) {
      if (c != '\xFF') clean += c;
    }
    EXPECT_EQ(valid_prefix(clean), clean.size());
  }
  EXPECT_EQ(out + stream.flush(), text);
  EXPECT_EQ(stream.flush(), "");
}

TEST(Tokenizer, UnknownIdsDecodeToNothing) {
  for (const char* name : {"gpt2", "sp_bpe"}) {
    const auto tok = load(fixture_path(name));
    EXPECT_EQ(tok->decode({-1, tok->vocab_size(), 1 << 30}), "");
    EXPECT_EQ(tok->token_bytes(tok->vocab_size()), "");
    EXPECT_FALSE(tok->is_special(-1));
    EXPECT_EQ(tok->id_of("no such token at all"), -1);
  }
}

TEST(MergeTable, LongAndShortWordsMergeAlike) {
  MergeTable table;  // random merges over 4 symbols
  core::rng::Stream random({5, core::rng::Purpose::kTest, 0, 0});
  for (int32_t i = 0; i < 60; ++i) {
    const auto any = [&] { return static_cast<int32_t>(random.below(4 + static_cast<uint64_t>(i))); };
    const int32_t left = any(), right = any();
    table.insert(left, right, {i, 4 + i});
  }
  // The definition, written down: always the lowest rank, the leftmost among equals.
  const auto by_definition = [&](std::vector<int32_t> s) {
    while (true) {
      const Merge* best = nullptr;
      size_t at = 0;
      for (size_t i = 0; i + 1 < s.size(); ++i) {
        const Merge* m = table.find(s[i], s[i + 1]);
        if (m != nullptr && (best == nullptr || m->rank < best->rank)) {
          best = m;
          at = i;
        }
      }
      if (best == nullptr) return s;
      s[at] = best->id;
      s.erase(s.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
  };
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<int32_t> symbols(random.below(120));
    for (auto& s : symbols) s = static_cast<int32_t>(random.below(4));
    const auto expected = by_definition(symbols);
    table.apply(symbols);
    EXPECT_EQ(symbols, expected);
  }
}

TEST(TokenizeFile, WritesARowForARow) {
  pan::testing::TempFolder folder;
  pan::testing::write_text(folder / "in.jsonl",
                           "{\"text\": \"Hi <|im_end|>\\u00e9\"}\n\n{\"id\": 1, \"text\": \"\"}");
  const auto counts = tokenize_file(fixture_path("gpt2"), folder / "in.jsonl", folder / "out.jsonl");
  EXPECT_EQ(counts.num_rows, 2);
  const auto tok = load(fixture_path("gpt2"));
  const core::Json first = {{"token_ids", tok->encode("Hi <|im_end|>\xC3\xA9")},
                            {"decoded", "Hi <|im_end|>\xC3\xA9"}};
  EXPECT_EQ(pan::testing::read_text(folder / "out.jsonl"),
            first.dump() + "\n{\"token_ids\":[],\"decoded\":\"\"}\n");
}

TEST(TokenizeFile, NamesTheBadRow) {
  pan::testing::TempFolder folder;
  for (const char* row : {"{\"txt\": 1}", "{\"text\": 1}", "[]", "{\"text\": ", "\"\xFF\""}) {
    pan::testing::write_text(folder / "in.jsonl", std::string("{\"text\": \"fine\"}\n") + row + "\n");
    try {
      tokenize_file(fixture_path("gpt2"), folder / "in.jsonl", folder / "out.jsonl");
      FAIL() << row;
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kData);
      EXPECT_THAT(error.what(), HasSubstr("in.jsonl"));
      EXPECT_THAT(error.what(), HasSubstr("line 2"));
    }
    EXPECT_THROW(pan::testing::read_text(folder / "out.jsonl"), std::runtime_error);
  }
}

// Loose on purpose: a quadratic step takes minutes on these, a busy machine a few seconds.
TEST(Speed, LongTextsTakeSeconds) {
  constexpr size_t kSize = 250'000;
  const auto texts = core::read_json_file(fixture_path("texts.json")).get<std::vector<std::string>>();
  std::string prose, marks = "e";
  while (prose.size() < kSize) {
    for (const auto& text : texts) prose += text + "\n";
  }
  while (marks.size() < kSize) marks += "\xCC\xA3\xCC\x81";
  const std::vector<std::pair<std::string, std::string>> cases = {{"prose", prose},
                                                                  {"one letter", std::string(kSize, 'a')},
                                                                  {"spaces", std::string(kSize, ' ')},
                                                                  {"marks", marks},
                                                                  {"newlines", std::string(kSize, '\n')},
                                                                  {"not UTF-8", std::string(kSize, '\xFF')},
                                                                  {"specials", [] {
                                                                     std::string out;
                                                                     while (out.size() < kSize)
                                                                       out += "<|im_end|><|im_";
                                                                     return out;
                                                                   }()}};
  for (const char* name : {"gpt2", "digits", "qwen", "llama3", "gemma", "sp_bpe", "sp_unigram"}) {
    const auto tok = load(fixture_path(name));
    for (const auto& [what, text] : cases) {
      const auto begin = std::chrono::steady_clock::now();
      const auto ids = tok->encode(text);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      EXPECT_LT(seconds, 15) << name << ", " << what << ", " << ids.size() << " tokens";
    }
  }
}

TEST(Tokenizer, MayBeUsedByThreads) {
  const auto texts = core::read_json_file(fixture_path("texts.json")).get<std::vector<std::string>>();
  for (const char* name : {"qwen", "sp_bpe"}) {
    const auto tok = load(fixture_path(name));
    std::vector<Ids> expected;
    for (const auto& text : texts)
      expected.push_back(load(fixture_path(name))->encode(text, {.allow_special = false}));
    std::vector<int> num_wrong(4);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < num_wrong.size(); ++t) {
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < texts.size(); ++i) {
          num_wrong[t] += tok->encode(texts[i], {.allow_special = false}) == expected[i] ? 0 : 1;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(num_wrong, std::vector<int>(4, 0)) << name;
  }
}

}  // namespace
}  // namespace pan::tokenizer
