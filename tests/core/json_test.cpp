#include "core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/support.h"

namespace pan::core {
namespace {

using ::testing::HasSubstr;

Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(ErrorKind::kInternal, "none");
}

TEST(Json, KeepsTheOrderOfKeysAndAllKindsOfValues) {
  const Json j =
      parse_json(R"({"b": 1, "a": [true, null, -2.5, "x\u00e9\n"], "c": {"d": 18446744073709551615}})", "t");
  EXPECT_EQ(dump_json(j),
            "{\"b\":1,\"a\":[true,null,-2.5,\"x\xC3\xA9\\n\"],\"c\":{\"d\":18446744073709551615}}");
}

TEST(Json, DuplicateKeysAreRefusedWithPlace) {
  const Error e =
      error_of([] { parse_json("{\"a\": [1, {\n\"x/y\": 1, \"z\": 2,\n \"x/y\": 3}]}", "f.json"); });
  EXPECT_EQ(e.kind(), ErrorKind::kData);
  EXPECT_EQ(e.where_text(), "f.json");
  EXPECT_THAT(e.pointer_text(), HasSubstr("/a/1/x~1y"));
  EXPECT_THAT(e.pointer_text(), HasSubstr("line 3"));
}

TEST(Json, DuplicateAmongManyKeysIsRefused) {
  std::string text = "{";
  for (int i = 0; i < 100; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_NO_THROW(parse_json(text + "\"other\":1}", "t"));
  for (int i : {0, 15, 16, 17, 99}) {
    EXPECT_THROW(parse_json(text + "\"k" + std::to_string(i) + "\":1}", "t"), Error) << i;
  }
}

TEST(Json, SameKeyInDifferentObjectsIsFine) {
  EXPECT_EQ(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "t")["b"][1]["a"], 2);
}

TEST(Json, ErrorsNameLineAndColumn) {
  const Error e =
      error_of([] { parse_json("{\n  \"a\": 1,\n  \"b\": tru\n}", "f", JsonDialect::kWithComments); });
  EXPECT_EQ(e.kind(), ErrorKind::kConfig);
  EXPECT_THAT(e.pointer_text(),
              HasSubstr("line 3, column 1"));  // 11 or 12: the lexer reads one past the word
  EXPECT_THAT(e.got_text(), HasSubstr("invalid literal"));
}

TEST(Json, HostileTextsAreErrorsNotCrashes) {
  for (const std::string& text :
       {std::string(""), std::string("   "), std::string("{"), std::string("[1,"), std::string("{\"a\":1}}"),
        std::string("{\"a\" 1}"), std::string("[1,]"), std::string("nan"), std::string("[1e999]"),
        std::string("\"\\ud800\""), std::string("\"\xff\""), std::string("\"a\nb\""), std::string("[1]\0", 4),
        std::string("'a'"), std::string(5000, '[')}) {
    EXPECT_EQ(error_of([&] { parse_json(text, "t"); }).kind(), ErrorKind::kData) << text.substr(0, 20);
  }
  EXPECT_NO_THROW(parse_json(std::string(256, '[') + std::string(256, ']'), "t"));
  EXPECT_THAT(error_of([] { parse_json(std::string(257, '['), "t"); }).what(), HasSubstr("too deeply"));
}

TEST(Json, CommentsOnlyWhereAllowed) {
  const std::string text = "// head\n{\"a\": 1, /* x */ \"b\": \"//no\"}\n";
  EXPECT_THROW(parse_json(text, "t"), Error);
  EXPECT_EQ(parse_json(text, "t", JsonDialect::kWithComments)["b"], "//no");
}

TEST(Json, LargeObjectsAreReadInLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 150000; ++i) text += "\"key" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  const Json j = parse_json(text, "t");
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(j.size(), 150000u);
  EXPECT_EQ(std::prev(j.end()).key(), "key149999");
  EXPECT_LT(taken.count(), 5.0);  // takes 0.1 s; looking each key up from the start takes more than 30 s
}

TEST(Json, LineOfPointer) {
  const std::string text =
      "// a comment with \"a\": 1\n{\n  \"a\": {\n    \"b\": [1,\n      {\"c/d\": \"}\"}, [] ]\n  },\n"
      "  /* \"e\": */\n  \"e\":\n    7\n}\n";
  EXPECT_EQ(line_of_pointer(text, ""), 2);
  EXPECT_EQ(line_of_pointer(text, "/a"), 3);
  EXPECT_EQ(line_of_pointer(text, "/a/b"), 4);
  EXPECT_EQ(line_of_pointer(text, "/a/b/0"), 4);
  EXPECT_EQ(line_of_pointer(text, "/a/b/1"), 5);
  EXPECT_EQ(line_of_pointer(text, "/a/b/1/c~1d"), 5);
  EXPECT_EQ(line_of_pointer(text, "/a/b/2"), 5);
  EXPECT_EQ(line_of_pointer(text, "/e"), 9);
  EXPECT_EQ(line_of_pointer(text, "/f"), 0);
  EXPECT_EQ(line_of_pointer(text, "/a/b/3"), 0);
  EXPECT_EQ(line_of_pointer("{\"a", "/a"), 0);
  EXPECT_EQ(line_of_pointer("[}", "/5"), 0);
}

TEST(Json, TypedAccess) {
  const Json j = parse_json(
      R"({"i": 3, "f": 3.0, "g": 3.5, "s": "x", "n": null, "o": {"l": [1, 2]}, "u": 1e300})", "f.json");
  EXPECT_EQ(get_required<int64_t>(j, "/i", "f.json"), 3);
  EXPECT_EQ(get_required<int64_t>(j, "/f", "f.json"), 3);
  EXPECT_EQ(get_required<double>(j, "/i", "f.json"), 3.0);
  EXPECT_EQ(get_required<std::string>(j, "/s", "f.json"), "x");
  EXPECT_EQ(get_required<int64_t>(j, "/o/l/1", "f.json"), 2);
  EXPECT_EQ(get_or<int64_t>(j, "/n", "f.json", 9), 9);
  EXPECT_EQ(get_or<bool>(j, "/missing/deeper", "f.json", true), true);
  EXPECT_THROW(get_required<int64_t>(j, "/g", "f.json"), Error);
  EXPECT_THROW(get_required<int64_t>(j, "/u", "f.json"), Error);
  EXPECT_THROW(get_required<bool>(j, "/i", "f.json"), Error);
  EXPECT_THROW(get_or<double>(j, "/s", "f.json", 1.0), Error);
  const Error missing = error_of([&] { get_required<std::string>(j, "/o/x", "f.json"); });
  EXPECT_EQ(missing.kind(), ErrorKind::kData);
  EXPECT_THAT(missing.what(), HasSubstr("f.json"));
  EXPECT_THAT(missing.what(), HasSubstr("/o/x"));
}

TEST(Json, DumpOfWhatJsonCannotHold) {
  Json j;
  j["nan"] = std::nan("");
  j["bad"] = "a\xff";
  EXPECT_EQ(dump_json(j), "{\"nan\":null,\"bad\":\"a\xEF\xBF\xBD\"}");
}

TEST(Json, MissingFileIsDataOrConfigByDialect) {
  const testing::TempFolder folder;
  EXPECT_EQ(error_of([&] { read_json_file(folder / "no.json"); }).kind(), ErrorKind::kData);
  EXPECT_EQ(error_of([&] { read_json_file(folder / "no.json", JsonDialect::kWithComments); }).kind(),
            ErrorKind::kConfig);
  EXPECT_EQ(error_of([&] { read_json_file(folder.path(), JsonDialect::kWithComments); }).kind(),
            ErrorKind::kConfig);
}

}  // namespace
}  // namespace pan::core
