#include "core/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"

namespace pan::core::schema_test {

enum class Estimator { kK1, kK2 };

struct Inner {
  double coefficient = 0.001;
  Estimator estimator = Estimator::kK1;
};
struct Outer {
  int64_t batch = 64;
  double lambda = 0.95;
  std::optional<double> cap = 0.45;
  std::optional<int64_t> limit;
  bool deterministic = true;
  std::string path = "data";
  std::vector<std::string> stop = {"a"};
  std::vector<int64_t> layers;
  std::string extra;
  Inner kl;
};

void describe(Fields& f, Inner& c) {
  f.number("coefficient", c.coefficient, {.min = 0, .unit = "", .doc = "Weight."});
  f.choice("estimator", c.estimator, {{"k1", Estimator::kK1}, {"k2", Estimator::kK2}}, "Estimator.");
}
void describe(Fields& f, Outer& c) {
  f.integer("batch", c.batch, {.min = 1, .max = 1e6, .unit = "sequence", .doc = "Size."});
  f.number("lambda", c.lambda, {.min = 0, .max = 1, .exclusive_min = true, .doc = "Lambda."});
  f.optional_number("cap", c.cap, {.min = 0, .doc = "Cap."});
  f.optional_integer("limit", c.limit, {.max = 10, .doc = "Limit."});
  f.boolean("deterministic", c.deterministic, "Same bits.");
  f.text("path", c.path, {.doc = "Path.", .is_path = true});
  f.text_list("stop", c.stop, {.doc = "Stops."});
  f.integer_list("layers", c.layers, {.min = 0, .doc = "Layers."});
  f.json_text("extra", c.extra, "Anything.");
  f.object("kl", c.kl, "KL penalty.");
}

namespace {

using ::testing::HasSubstr;

Outer read(const std::string& text) {
  Outer c;
  read_fields([&](Fields& f) { describe(f, c); }, parse_json(text, "t"), "x.json",
              [&](const std::string& pointer) { return line_of_pointer(text, pointer); });
  return c;
}

std::string message(const std::string& text) {
  try {
    read(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kConfig);
    return e.what();
  }
  return "no error";
}

TEST(Schema, AbsentKeysKeepTheirDefault) {
  const Outer c = read("{}");
  EXPECT_EQ(c.batch, 64);
  EXPECT_EQ(c.cap, 0.45);
  EXPECT_EQ(c.stop, std::vector<std::string>{"a"});
}

TEST(Schema, ReadsEveryKindOfField) {
  const Outer c =
      read(R"({"batch": 1e3, "lambda": 1, "cap": null, "limit": -4, "deterministic": false, "path": "p",
      "stop": ["x", "y"], "layers": [3, 0], "extra": {"q": [1]}, "kl": {"estimator": "k2"}})");
  EXPECT_EQ(c.batch, 1000);
  EXPECT_EQ(c.lambda, 1.0);
  EXPECT_EQ(c.cap, std::nullopt);
  EXPECT_EQ(c.limit, -4);
  EXPECT_FALSE(c.deterministic);
  EXPECT_EQ(c.path, "p");
  EXPECT_EQ(c.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(c.layers, (std::vector<int64_t>{3, 0}));
  EXPECT_EQ(c.extra, R"({"q":[1]})");
  EXPECT_EQ(c.kl.estimator, Estimator::kK2);
  EXPECT_EQ(c.kl.coefficient, 0.001);
}

TEST(Schema, PrintThenReadIsTheIdentity) {
  Outer c =
      read(R"({"cap": null, "kl": {"estimator": "k2", "coefficient": 0.1}, "extra": [1], "layers": [5]})");
  const Json printed = print_fields([&](Fields& f) { describe(f, c); });
  EXPECT_EQ(printed.begin().key(), "batch");
  Outer again;
  read_fields([&](Fields& f) { describe(f, again); }, printed, "t");
  EXPECT_EQ(dump_json(print_fields([&](Fields& f) { describe(f, again); })), dump_json(printed));
  EXPECT_EQ(
      dump_json(printed),
      R"({"batch":64,"lambda":0.95,"cap":null,"limit":null,"deterministic":true,"path":"data","stop":["a"],)"
      R"("layers":[5],"extra":[1],"kl":{"coefficient":0.1,"estimator":"k2"}})");
}

TEST(Schema, UnknownKeyNamesTheNearestOne) {
  EXPECT_THAT(message("{\n\"bacth\": 3}"),
              HasSubstr("(in x.json, at /bacth, line 2). Did you mean \"batch\"?"));
  EXPECT_THAT(message(R"({"kl": {"coeficient": 1}})"), HasSubstr("Did you mean \"coefficient\"?"));
  EXPECT_THAT(message(R"({"kl": {"coeficient": 1}})"), HasSubstr("/kl/coeficient"));
}

TEST(Schema, UnknownKeyThatExistsElsewhereSaysWhere) {
  EXPECT_THAT(message(R"({"coefficient": 1})"), HasSubstr("It exists as /kl/coefficient"));
}

TEST(Schema, UnknownKeyWithNothingNearListsTheKeys) {
  EXPECT_THAT(message(R"({"kl": {"zzzzzzzz": 1}})"), HasSubstr("Here are: coefficient, estimator"));
}

TEST(Schema, WrongTypesAreRefused) {
  EXPECT_THAT(message(R"({"batch": 1.5})"), HasSubstr("expected an integer, got 1.5"));
  EXPECT_THAT(message(R"({"batch": "4"})"), HasSubstr("expected an integer, got \"4\""));
  EXPECT_THAT(message(R"({"batch": null})"), HasSubstr("expected an integer, got null"));
  EXPECT_THAT(message(R"({"batch": 18446744073709551615})"), HasSubstr("expected an integer"));
  EXPECT_THAT(message(R"({"lambda": true})"), HasSubstr("expected a number, got true"));
  EXPECT_THAT(message(R"({"cap": "x"})"), HasSubstr("expected a number or null"));
  EXPECT_THAT(message(R"({"deterministic": 1})"), HasSubstr("expected true or false"));
  EXPECT_THAT(message(R"({"path": 12})"), HasSubstr("expected text, got 12. Put it in quotes: \"12\""));
  EXPECT_THAT(message(R"({"stop": "x"})"), HasSubstr("a list of texts"));
  EXPECT_THAT(message(R"({"stop": ["x", 1]})"), HasSubstr("/stop/1"));
  EXPECT_THAT(message(R"({"kl": 3})"), HasSubstr("expected an object, got 3"));
  EXPECT_THAT(message(R"([])"), HasSubstr("expected an object"));
}

TEST(Schema, RangesAreRefusedWithTheBoundsAndTheLine) {
  EXPECT_THAT(message("{\n\n\"batch\": 0}"), HasSubstr("line 3): expected [1, 1e+06] (sequence), got 0"));
  EXPECT_THAT(message(R"({"lambda": 0})"), HasSubstr("expected (0, 1], got 0"));
  EXPECT_THAT(message(R"({"kl": {"coefficient": -0.5}})"), HasSubstr("expected >= 0, got -0.5"));
  EXPECT_THAT(message(R"({"limit": 11})"), HasSubstr("expected <= 10, got 11"));
  EXPECT_THAT(message(R"({"layers": [1, -1]})"), HasSubstr("/layers/1"));
}

TEST(Schema, UnknownChoiceNamesTheOptions) {
  EXPECT_THAT(message(R"({"kl": {"estimator": "k3"}})"),
              HasSubstr("expected k1 | k2, got \"k3\". Did you mean"));
}

TEST(Schema, ValueFromOverrideIsNamedAsSuch) {
  Outer c;
  try {
    read_fields([&](Fields& f) { describe(f, c); }, parse_json(R"({"batch": 0})", "t"), "x.json",
                [](const std::string&) { return kFromOverride; });
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.where_text(), "--set");
    EXPECT_EQ(e.pointer_text(), "/batch");
  }
}

TEST(Schema, ExplainsEveryField) {
  Outer c;
  const auto docs = explain_fields([&](Fields& f) { describe(f, c); });
  ASSERT_EQ(docs.size(), 12u);
  EXPECT_EQ(docs[0].pointer, "/batch");
  EXPECT_EQ(docs[0].type, "integer");
  EXPECT_EQ(docs[0].value, "64");
  EXPECT_EQ(docs[0].range, "[1, 1e+06]");
  EXPECT_EQ(docs[0].unit, "sequence");
  EXPECT_EQ(docs[3].value, "null");
  EXPECT_EQ(docs[9].pointer, "/kl");
  EXPECT_EQ(docs[9].type, "object");
  EXPECT_EQ(docs[11].pointer, "/kl/estimator");
  EXPECT_EQ(docs[11].range, "k1 | k2");
  EXPECT_EQ(docs[11].value, "\"k1\"");
}

TEST(Override, SetsValuesOfEveryKind) {
  Json tree = parse_json(R"({"kl": {"coefficient": 1}, "list": [1, 2]})", "t");
  EXPECT_EQ(apply_override(tree, "kl.coefficient=0.5"), "/kl/coefficient");
  EXPECT_EQ(apply_override(tree, "list.1=7"), "/list/1");
  EXPECT_EQ(apply_override(tree, "list.2=8"), "/list/2");
  apply_override(tree, "new.deep.path=some text = with signs");
  apply_override(tree, "stop=[\"a\", \"b\"]");
  apply_override(tree, "obj={\"x\": null}");
  apply_override(tree, "flag=true");
  apply_override(tree, "empty=");
  EXPECT_EQ(dump_json(tree),
            R"({"kl":{"coefficient":0.5},"list":[1,7,8],"new":{"deep":{"path":"some text = with signs"}},)"
            R"("stop":["a","b"],"obj":{"x":null},"flag":true,"empty":""})");
}

TEST(Override, RefusesWhatCannotBeSet) {
  Json tree = parse_json(R"({"list": [1], "plain": 3})", "t");
  for (const char* bad :
       {"noequals", "=3", "a..b=3", ".a=3", "a.=3", "list.5=1", "list.x=1", "plain.deeper=1"}) {
    try {
      apply_override(tree, bad);
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage) << bad;
      EXPECT_THAT(e.what(), HasSubstr(bad));
    }
  }
  EXPECT_THROW(apply_override(tree, "a={\"x\":1,\"x\":2}"), Error);
}

}  // namespace
}  // namespace pan::core::schema_test
