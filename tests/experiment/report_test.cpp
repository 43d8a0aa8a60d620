// report.json, report.md and the pictures, from results that were made up.
#include "experiment/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "experiment/made_experiment.h"
#include "experiment/made_results.h"
#include "support/support.h"

namespace pan::experiment {
namespace {

using core::Json;
using pan::testing::made_arm;
using pan::testing::made_curve;
using pan::testing::MadeExperiment;
using pan::testing::read_text;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Tags open and close in order, attributes are quoted, `<` and `&` stand for nothing else. Empty:
// well-formed.
std::string fault_of(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t i = 0; i < xml.size();) {
    if (xml[i] == '&') {
      const size_t end = xml.find(';', i);
      if (end == std::string::npos || end - i > 7) return "a bare & at " + std::to_string(i);
      i = end + 1;
      continue;
    }
    if (xml[i] == '>') return "a bare > at " + std::to_string(i);
    if (xml[i++] != '<') continue;
    const size_t end = xml.find('>', i);
    if (end == std::string::npos) return "a tag without an end";
    const std::string tag = xml.substr(i, end - i);
    i = end + 1;
    if (tag.find('<') != std::string::npos) return "< inside the tag " + tag;
    if (std::count(tag.begin(), tag.end(), '"') % 2 != 0) return "an open quote in " + tag;
    const bool closes = tag[0] == '/', is_empty = tag.back() == '/';
    const size_t first = closes ? 1 : 0;
    const std::string name = tag.substr(first, tag.find_first_of(" /\n", first) - first);
    if (!closes && !is_empty) open.push_back(name);
    if (!closes) continue;
    if (open.empty() || open.back() != name) return "</" + name + "> closes nothing";
    open.pop_back();
  }
  return open.empty() ? "" : "<" + open.back() + "> is never closed";
}

class Report : public ::testing::Test {
 protected:
  Report() {
    made_.json()["seeds"] = {1, 2, 3, 4, 5, 6};
    made_.json()["curves"] = {"eval/accuracy", "rhythm/entropy_term/mean"};
    plan_ = made_.plan();
    results_.arms = {made_arm("base", {}, {0.50, 0.52, 0.48, 0.51, 0.49, 0.50}),
                     made_arm("paid", {"base"}, {0.60, 0.64, 0.58, 0.62, 0.59, 0.61})};
    results_.arms[1].rhythm.lambda = 0.1;
    results_.arms[0].rhythm.lambda = 0;
    for (ArmResults& arm : results_.arms)
      for (auto& [seed, cell] : arm.cells) {
        cell.right = {{"a", true}, {"b", arm.name == "paid"}};
        cell.curves["eval/accuracy"] = {{0, 0.3}, {5, cell.value}};
        cell.curves["rhythm/entropy_term/mean"] = made_curve({0.1, 0.2, 0.3, 0.4, 0.5});
        cell.curves["rhythm/concentration_term/mean"] = made_curve({0.1, 0.2, 0.3, 0.4, 0.5});
        cell.curves["rhythm/sigma/entropy"] = made_curve({1, 1, 1, 1, 1});
        cell.curves["reward/accuracy"] = made_curve({0.5, 0.4, 0.3, 0.2, 0.1});
        cell.curves["rhythm/entropy_term/right"] = made_curve({0.25});
        cell.curves["rhythm/entropy_term/wrong"] = made_curve({0.125});
      }
    results_.programs = {{"pan-ppo 1", 12}};
  }

  Json json() const { return report_json(plan_, results_, analyse(results_, plan_.experiment.config)); }
  std::string markdown() const {
    return report_markdown(plan_, results_, analyse(results_, plan_.experiment.config), {});
  }
  void lose_a_run() {
    results_.arms[1].cells.erase(6);
    results_.arms[1].missing = {6};
  }

  MadeExperiment made_;
  Plan plan_;
  Results results_;
};

TEST_F(Report, JsonHoldsWhatAClaimNeeds) {
  const Json r = json();
  EXPECT_EQ(r["name"], "made");
  EXPECT_EQ(r["num_comparisons"], 1);
  EXPECT_EQ(r["provisional"], false);
  EXPECT_EQ(r["arms"]["paid"]["by_seed"]["2"], 0.64);
  EXPECT_EQ(r["arms"]["paid"]["changes"], (Json{{"rhythm.lambda", 0.1}}));
  const Json& c = r["comparisons"][0];
  EXPECT_EQ(c["differences"].size(), 6u);
  EXPECT_EQ(c["sign_flip"]["p"], 2.0 / 64);
  EXPECT_EQ(c["sign_flip"]["p_holm"], 2.0 / 64);
  EXPECT_EQ(c["significant"], true);
  EXPECT_EQ(c["seeds_needed"]["this_comparison"], 6);
  EXPECT_EQ(c["mcnemar"][0]["only_arm_right"], 1);
  EXPECT_THAT(c["sentence"].get<std::string>(), HasSubstr("paid has a higher eval/accuracy than base"));
}

TEST_F(Report, JsonHoldsWhatMadeTheResults) {
  const Json r = json();
  EXPECT_EQ(r["program"], "pan-ppo 1");
  EXPECT_EQ(r["programs_of_runs"], (Json{{"pan-ppo 1", 12}}));
  EXPECT_EQ(r["models"], Json(plan_.models));
  EXPECT_EQ(r["models"].begin().value().get<std::string>().size(), 16u);
  EXPECT_EQ(r["base"]["train"]["iterations"], 5);
  EXPECT_TRUE(r["base"]["optimizer"].contains("lr")) << "the base is resolved";
}

TEST_F(Report, JsonHoldsGuardsAndTerms) {
  const Json r = json();
  const Json &paid = r["guards"]["paid"], &base = r["guards"]["base"];
  EXPECT_EQ(paid["reward_hacking_suspected"], true);
  EXPECT_EQ(paid["runs_where_rhythm_rose_and_accuracy_fell"], 6);
  EXPECT_GT(paid["rhythm_trend_t"], 2);
  EXPECT_EQ(base["rhythm_is_paid"], false);
  EXPECT_TRUE(base["reward_hacking_suspected"].is_null());
  EXPECT_EQ(base["terms"]["rhythm/entropy_term"], (Json{{"right", 0.25}, {"wrong", 0.125}}));
}

TEST_F(Report, MarkdownSaysItInWords) {
  const std::string text = markdown();
  for (const char* part : {"# made", "* paid has a higher eval/accuracy than base", "seeds would be needed",
                           "adjusted by Holm over 1 planned comparisons", "| paid | 60.7 % |", "| seed 6 |",
                           "**Reward hacking?** paid: in 6 of 6 runs",
                           "| `rhythm/entropy_term` | paid | 0.2500 | 0.1250 |", "McNemar's exact test"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(text, Not(HasSubstr("Provisional")));
  EXPECT_THAT(text, Not(HasSubstr("Reward hacking?** base")));
}

TEST_F(Report, IsProvisionalWhileARunIsMissing) {
  lose_a_run();
  const Json r = json();
  EXPECT_EQ(r["provisional"], true);
  EXPECT_EQ(r["num_missing"], 1);
  EXPECT_EQ(r["arms"]["paid"]["missing_seeds"], Json::array({6}));
  EXPECT_EQ(r["comparisons"][0]["complete"], false);
  EXPECT_EQ(r["comparisons"][0]["significant"], false);
  EXPECT_TRUE(r["comparisons"][0]["sign_flip"]["p_holm"].is_null());
  EXPECT_THAT(markdown(), AllOf(HasSubstr("**Provisional.** Missing: paid: seed 6."), HasSubstr("| 5 of 6 |"),
                                HasSubstr("| missing |")));
}

TEST_F(Report, SaysWhereVersionsOfTheProgramAreMixed) {
  EXPECT_THAT(markdown(), Not(HasSubstr("**Mixed.**")));
  results_.programs["pan-ppo 2"] = 3;
  EXPECT_THAT(markdown(), HasSubstr("**Mixed.** The runs were made by 2 versions"));
}

TEST_F(Report, SaysWhereNothingIsKnownOfHacking) {
  for (auto& [seed, cell] : results_.arms[1].cells)
    for (auto& [key, curve] : cell.curves) curve.resize(1);
  EXPECT_THAT(markdown(), HasSubstr("says nothing about reward hacking"));
}

TEST_F(Report, FilesAreWrittenAndPicturesAreWellFormed) {
  write_report(plan_, results_, analyse(results_, plan_.experiment.config));
  EXPECT_EQ(Json::parse(read_text(made_.path("out/report.json"))), json());
  for (const char* file : {"out/curve_eval_accuracy.svg", "out/curve_rhythm_entropy_term_mean.svg"}) {
    const std::string svg = read_text(made_.path(file));
    EXPECT_EQ(fault_of(svg), "") << file;
    EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
    EXPECT_THAT(svg, HasSubstr(">paid</text>"));
  }
  EXPECT_THAT(read_text(made_.path("out/report.md")), HasSubstr("(curve_eval_accuracy.svg)"));
}

TEST(Svg, IsWellFormedWhateverIsDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const ChartLine line{.name = "a <b> & \"c\"",
                       .points = {{0, 0.1, nan, nan}, {1, nan, 0, 1}, {2, 0.5, 0.4, 0.6}},
                       .thin = {{{0, 0.1}, {2, nan}}}};
  for (const std::vector<ChartLine>& lines :
       {std::vector<ChartLine>{}, {line}, std::vector<ChartLine>(14, line)}) {
    const std::string svg =
        svg_of({.title = "x < y & z", .x_label = "x", .y_label = "y", .note = "n", .lines = lines});
    EXPECT_EQ(fault_of(svg), "");
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, HasSubstr("x &lt; y &amp; z"));
  }
  EXPECT_NE(fault_of("<svg><text>a & b</text></svg>"), "");
  EXPECT_NE(fault_of("<svg><g></svg>"), "");
}

TEST(Curves, OfACutOffLogAreThoseOfItsWholeLines) {
  pan::testing::TempFolder folder;
  pan::testing::write_text(folder / "metrics.jsonl",
                           "{\"iteration\": 1, \"a\": 1}\n{\"iteration\": 2, \"a\": 2}\n"
                           "{\"iteration\": 2, \"a\": 3, \"b\": null}\n{\"iteration\": 3, \"a\"");
  const auto curves = read_curves(folder / "metrics.jsonl");
  ASSERT_EQ(curves.size(), 1u);
  EXPECT_EQ(curves.at("a"), (Curve{{1, 1}, {2, 3}}));
  EXPECT_TRUE(read_curves(folder / "nowhere.jsonl").empty());
}

}  // namespace
}  // namespace pan::experiment
