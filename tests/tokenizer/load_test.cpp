// Choosing a tokenizer by the files present, and files that are damaged or not supported: one clear kData
// error each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "pan/tokenizer.h"
#include "support/support.h"
#include "tokenizer/regex.h"

namespace pan::tokenizer {
namespace {

using core::Json;
using ::testing::HasSubstr;

std::string fixture_path(const std::string& name) { return pan::testing::fixture("tokenizer/" + name); }

// Text of the kData error that `action` throws.
std::string data_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
    return error.what();
  }
  return "no error";
}

// Loads the gpt2 fixture after a change to its file.
std::string error_after(const std::function<void(Json&)>& change) {
  Json json = core::read_json_file(fixture_path("gpt2/tokenizer.json"));
  change(json);
  pan::testing::TempFolder folder;
  pan::testing::write_text(folder / "tokenizer.json", json.dump());
  const std::string text = data_error([&] { load(folder.path()); });
  EXPECT_THAT(text, HasSubstr(folder / "tokenizer.json"));
  return text;
}

TEST(Load, SaysWhatWasLookedFor) {
  pan::testing::TempFolder folder;
  EXPECT_THAT(data_error([&] { load(folder.path()); }), HasSubstr("tokenizer.json or tokenizer.model"));
  EXPECT_THAT(data_error([&] { load(folder / "none"); }), HasSubstr("no such"));
  pan::testing::write_text(folder / "vocab.txt", "a");
  EXPECT_THAT(data_error([&] { load(folder / "vocab.txt"); }), HasSubstr(".model"));
  pan::testing::write_text(folder / "vocab.json", "{}");
  pan::testing::write_text(folder / "merges.txt", "");
  EXPECT_THAT(data_error([&] { load(folder.path()); }), HasSubstr("save_pretrained"));
}

TEST(Load, TakesAFolderOrAFile) {
  EXPECT_EQ(load(fixture_path("gpt2"))->vocab_size(),
            load(fixture_path("gpt2/tokenizer.json"))->vocab_size());
  EXPECT_EQ(load(fixture_path("sp_bpe"))->vocab_size(),
            load(fixture_path("sp_bpe/tokenizer.model"))->vocab_size());
}

TEST(Load, FindsBeginAndEndOfText) {
  pan::testing::TempFolder folder;
  std::filesystem::copy_file(fixture_path("gpt2/tokenizer.json"), folder / "tokenizer.json");
  EXPECT_EQ(load(folder.path())->eos_id(), -1);
  pan::testing::write_text(folder / "config.json", R"({"eos_token_id": [2, 0], "bos_token_id": 1})");
  EXPECT_EQ(load(folder.path())->eos_id(), 2);
  EXPECT_EQ(load(folder.path())->bos_id(), 1);
  pan::testing::write_text(folder / "tokenizer_config.json",
                           R"({"eos_token": {"content": "<|endoftext|>"}, "bos_token": null})");
  EXPECT_EQ(load(folder.path())->eos_id(), 0);
  EXPECT_EQ(load(folder.path())->bos_id(), 1);
}

TEST(Load, RefusesWhatIsNotSupportedByName) {
  EXPECT_THAT(error_after([](Json& j) { j["model"]["type"] = "WordPiece"; }), HasSubstr("WordPiece"));
  EXPECT_THAT(error_after([](Json& j) {
                j["pre_tokenizer"] = {{"type", "Metaspace"}};
              }),
              HasSubstr("Metaspace"));
  EXPECT_THAT(error_after([](Json& j) { j["normalizer"] = {{"type", "NFKC"}}; }), HasSubstr("NFKC"));
  EXPECT_THAT(error_after([](Json& j) { j["decoder"] = {{"type", "WordPiece"}}; }), HasSubstr("WordPiece"));
  EXPECT_THAT(error_after([](Json& j) { j["decoder"] = nullptr; }), HasSubstr("decoder"));
  EXPECT_THAT(error_after([](Json& j) {
                j["post_processor"] = {{"type", "BertProcessing"}};
              }),
              HasSubstr("BertProcessing"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["dropout"] = 0.1; }), HasSubstr("dropout"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }),
              HasSubstr("end_of_word_suffix"));
  const auto with_pattern = [](const char* pattern) {
    return error_after([&](Json& j) {
      j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    });
  };
  EXPECT_THAT(with_pattern(R"(\w+)"), HasSubstr(R"(\w)"));
  EXPECT_THAT(with_pattern(R"([a-z&&[^b]])"), HasSubstr("&&"));
  EXPECT_THAT(with_pattern(R"(\p{N}{1,3}+)"), HasSubstr("repeated interval"));
  EXPECT_THAT(with_pattern(R"((?m:a.b))"), HasSubstr("group"));
  EXPECT_THAT(with_pattern(R"((a)"), HasSubstr("cannot be compiled"));
  EXPECT_THAT(with_pattern(R"(\p{NoSuchScript})"), HasSubstr("cannot be compiled"));
}

TEST(Load, RefusesDamagedTokenizerJson) {
  EXPECT_THAT(error_after([](Json& j) { j.erase("model"); }), HasSubstr("/model"));
  EXPECT_THAT(error_after([](Json& j) { j = Json::array(); }), HasSubstr("object"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["vocab"]["a"] = -1; }), HasSubstr("'a'"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["vocab"]["a"] = "x"; }), HasSubstr("'a'"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["vocab"]["a"] = j["model"]["vocab"]["b"]; }),
              HasSubstr("two tokens"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["vocab"].erase("th"); }), HasSubstr("'th'"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["merges"][3] = "abc"; }), HasSubstr("/model/merges/3"));
  EXPECT_THAT(error_after([](Json& j) { j["model"]["merges"][3] = 7; }), HasSubstr("/model/merges/3"));
  EXPECT_THAT(error_after([](Json& j) { j["added_tokens"][1]["id"] = 700; }), HasSubstr("/added_tokens/1"));
  EXPECT_THAT(error_after([](Json& j) { j["added_tokens"][1]["content"] = ""; }),
              HasSubstr("/added_tokens/1"));
}

TEST(Load, RefusesTruncatedFilesOfBothKinds) {
  for (const std::string name :
       {"gpt2/tokenizer.json", "sp_bpe/tokenizer.model", "sp_nfkc/tokenizer.model"}) {
    const std::string whole = pan::testing::read_text(fixture_path(name));
    const std::string file_name = name.substr(name.find('/') + 1);
    for (const double share : {0.0, 0.01, 0.3, 0.7, 0.999}) {
      pan::testing::TempFolder folder;
      pan::testing::write_text(
          folder / file_name,
          whole.substr(0, static_cast<size_t>(share * static_cast<double>(whole.size()))));
      EXPECT_THAT(data_error([&] { load(folder.path()); }), HasSubstr(folder / file_name)) << share;
    }
  }
}

// A flipped byte is either found or gives a tokenizer that still works on texts; never a crash.
TEST(Load, SurvivesFlippedBytes) {
  core::rng::Stream random({1, core::rng::Purpose::kTest, 0, 0});
  for (const std::string name : {"gpt2/tokenizer.json", "sp_bpe/tokenizer.model",
                                 "sp_unigram/tokenizer.model", "sp_nfkc/tokenizer.model"}) {
    const std::string whole = pan::testing::read_text(fixture_path(name));
    const std::string file_name = name.substr(name.find('/') + 1);
    int num_refused = 0;
    for (int i = 0; i < 100; ++i) {
      std::string bytes = whole;
      bytes[random.below(i % 2 == 0 ? bytes.size() : 200)] ^= static_cast<char>(1u << random.below(8));
      pan::testing::TempFolder folder;
      pan::testing::write_text(folder / file_name, bytes);
      try {
        const auto tok = load(folder.path());
        tok->decode(tok->encode(
            "Natalia sold 48 clips \xF0\x9F\x98\x80 \xEF\xAC\x81 e\xCC\x81 \xEF\xBC\xA1 <|im_end|>\n"));
      } catch (const core::Error& error) {
        EXPECT_EQ(error.kind(), core::ErrorKind::kData) << error.what();
        ++num_refused;
      }
    }
    EXPECT_GT(num_refused, 0) << name;
  }
}

TEST(Regex, TranslatesWhatTheEnginesReadDifferently) {
  EXPECT_EQ(translate_pattern(R"([^\s\d]\u00e9+)", "x"), R"([^\t-\r\x{85}\p{Z}\p{Nd}]\x{00e9}+)");
  EXPECT_EQ(translate_pattern(R"(\s+(?!\S)|\p{L}{2,3}?)", "x"),
            R"([\t-\r\x{85}\p{Z}]+(?![^\t-\r\x{85}\p{Z}])|\p{L}{2,3}?)");
}

TEST(Regex, FindsMatchesAlsoWhereTheyMayBeEmpty) {
  std::string found;
  Regex("a*", "x").for_each_match("baac\xC3\xA9", [&](size_t b, size_t e) {
    found += std::to_string(b) + "-" + std::to_string(e) + " ";
  });
  EXPECT_EQ(found, "0-0 1-3 3-3 4-4 6-6 ");
}

}  // namespace
}  // namespace pan::tokenizer
