#include "experiment/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "core/file.h"
#include "experiment/sentences.h"
#include "experiment/text.h"

namespace pan::experiment {
namespace {

using core::Json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json json_of(const TInterval& i) { return {{"mean", i.mean}, {"low_95", i.low}, {"high_95", i.high}}; }

Json json_of(const ArmSummary& arm) {
  Json by_seed = Json::object();
  for (size_t i = 0; i < arm.seeds.size(); ++i) by_seed[std::to_string(arm.seeds[i])] = arm.values[i];
  Json json = json_of(arm.interval);
  json["standard_deviation"] = arm.deviation;
  json["by_seed"] = by_seed;
  json["missing_seeds"] = arm.missing;
  json["one_evaluation"] = arm.one_evaluation;
  return json;
}

Json json_of(const Comparison& c) {
  Json json = {
      {"arm", c.arm}, {"against", c.against}, {"sentence", c.sentence}, {"significant", c.significant}};
  json["difference"] = json_of(c.interval);
  json["seeds"] = c.seeds;
  json["complete"] = c.is_complete();
  json["differences"] = c.differences;
  json["standard_deviation"] = c.deviation;
  if (c.has_test)
    json["sign_flip"] = {{"p", c.test.p},
                         {"p_holm", c.is_complete() ? Json(c.adjusted_p) : Json(nullptr)},
                         {"exact", c.test.exact},
                         {"num_patterns", c.test.num_draws},
                         {"smallest_possible_p_holm", c.smallest_adjusted_p},
                         {"can_reach_alpha", c.can_reach},
                         {"seeds_to_reach_alpha", c.seeds_to_reach}};
  else
    json["sign_flip"] = nullptr;
  json["effect_size_dz"] = or_null(c.effect);
  json["effect_size_hedges"] = or_null(c.effect_corrected);
  json["seeds_needed"] = {{"this_comparison", or_null(c.needed)}, {"all_comparisons", or_null(c.needed_all)}};
  json["mcnemar"] = Json::array();
  for (const ItemTest& t : c.items)
    json["mcnemar"].push_back({{"seed", t.seed},
                               {"num_items", t.num_items},
                               {"only_arm_right", t.only_arm},
                               {"only_against_right", t.only_against},
                               {"p", t.p}});
  return json;
}

Json json_of(const Guard& g) {
  Json json = {{"rhythm_is_paid", g.is_paid},
               {"reward_hacking_suspected", g.is_paid ? Json(g.warning) : Json(nullptr)},
               {"rhythm_trend_t", or_null(g.rhythm_t)},
               {"accuracy_trend_t", or_null(g.accuracy_t)},
               {"runs_with_trends", g.num_trends},
               {"runs_where_rhythm_rose_and_accuracy_fell", g.num_risen},
               {"runs_that_warned", g.num_warned}};
  for (const auto& [key, value] : g.figures) json[key] = or_null(value);
  json["terms"] = Json::object();
  for (const TermMeans& t : g.terms)
    json["terms"][t.term] = {{"right", or_null(t.right)}, {"wrong", or_null(t.wrong)}};
  return json;
}

// What an arm changes of the experiment's baseline, key by key.
Json changes_of(const Plan& plan, size_t arm) {
  const core::Json all = core::parse_json(plan.experiment.config.arms, plan.experiment.source);
  return all[plan.experiment.arms[arm].name];
}

std::string row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += " " + cell + " |";
  return line + "\n";
}

std::string header(const std::vector<std::string>& cells) {
  std::string line = row(cells) + "|";
  for (size_t i = 0; i < cells.size(); ++i) line += i == 0 ? "---|" : "---:|";
  return line + "\n";
}

std::string interval_text(const TInterval& i, bool in_percent, bool with_sign) {
  if (std::isnan(i.low)) return "-";
  const double scale = in_percent ? 100 : 1;
  const char* pattern = in_percent ? (with_sign ? "[%+.1f, %+.1f]" : "[%.1f, %.1f]")
                                   : (with_sign ? "[%+.4g, %+.4g]" : "[%.4g, %.4g]");
  return format(pattern, scale * i.low, scale * i.high);
}

std::string number_or_dash(const std::optional<double>& v, const char* pattern) {
  return v && std::isfinite(*v) ? format(pattern, *v) : "-";
}

std::string arms_table(const Plan& plan, const Analysis& a) {
  std::vector<std::string> head = {"arm", "mean", "95 % interval"};
  for (int64_t seed : plan.experiment.config.seeds) head.push_back("seed " + std::to_string(seed));
  std::string text = header(head);
  for (const ArmSummary& arm : a.arms) {
    std::vector<std::string> cells = {
        arm.name, shown(arm.interval.mean, a.in_percent),
        arm.one_evaluation ? "one evaluation" : interval_text(arm.interval, a.in_percent, false)};
    for (int64_t seed : plan.experiment.config.seeds) {
      const auto at = std::find(arm.seeds.begin(), arm.seeds.end(), seed);
      cells.push_back(at == arm.seeds.end()
                          ? "missing"
                          : shown(arm.values[static_cast<size_t>(at - arm.seeds.begin())], a.in_percent));
    }
    text += row(cells);
  }
  return text;
}

std::string seeds_text(const Comparison& c) {
  const std::string n = std::to_string(c.seeds.size());
  return c.is_complete() ? n : n + " of " + std::to_string(c.num_planned);
}

std::string comparisons_table(const Analysis& a) {
  std::string text = header({"arm", "against", "seeds", "difference", "95 % interval", "p (sign-flip)",
                             "p (Holm)", "d_z", "d_z corrected", "seeds needed", "seeds needed, all"});
  for (const Comparison& c : a.comparisons) {
    auto count = [](const std::optional<int64_t>& n) { return n ? std::to_string(*n) : std::string("-"); };
    text +=
        row({c.arm, c.against, seeds_text(c), shown_difference(c.interval.mean, a.in_percent),
             interval_text(c.interval, a.in_percent, true), c.has_test ? shown_p(c.test.p) : "-",
             c.has_test && c.is_complete() ? shown_p(c.adjusted_p) : "-", number_or_dash(c.effect, "%+.2f"),
             number_or_dash(c.effect_corrected, "%+.2f"), count(c.needed), count(c.needed_all)});
  }
  return text;
}

std::string items_table(const Analysis& a) {
  std::string text = header({"arm", "against", "seed", "items", "only arm right", "only other right", "p"});
  bool any = false;
  for (const Comparison& c : a.comparisons)
    for (const ItemTest& t : c.items) {
      any = true;
      text += row({c.arm, c.against, std::to_string(t.seed), std::to_string(t.num_items),
                   std::to_string(t.only_arm), std::to_string(t.only_against), shown_p(t.p)});
    }
  return any ? text : "";
}

std::string trends_table(const Analysis& a) {
  std::vector<std::string> head = {"arm"};
  for (const auto& [key, value] : a.guards.front().figures) head.push_back(key);
  head.insert(head.end(), {"t of rhythm", "t of accuracy", "runs that rose and fell", "runs that warned"});
  std::string text = header(head);
  for (const Guard& g : a.guards) {
    std::vector<std::string> cells = {g.arm};
    for (const auto& [key, value] : g.figures) cells.push_back(number_or_dash(value, "%+.3f"));
    cells.push_back(number_or_dash(g.rhythm_t, "%+.1f"));
    cells.push_back(number_or_dash(g.accuracy_t, "%+.1f"));
    cells.push_back(g.num_trends > 0 ? std::to_string(g.num_risen) + " of " + std::to_string(g.num_trends)
                                     : "-");
    cells.push_back(g.is_paid ? std::to_string(g.num_warned) : "-");
    text += row(cells);
  }
  return text;
}

std::string terms_table(const Analysis& a) {
  std::string text = header({"term", "arm", "right answers", "wrong answers"});
  std::set<std::string> names;
  for (const Guard& g : a.guards)
    for (const TermMeans& t : g.terms) names.insert(t.term);
  for (const std::string& name : names)
    for (const Guard& g : a.guards)
      for (const TermMeans& t : g.terms)
        if (t.term == name)
          text += row(
              {"`" + name + "`", g.arm, number_or_dash(t.right, "%.4f"), number_or_dash(t.wrong, "%.4f")});
  return names.empty() ? "" : text;
}

std::string guards_text(const Analysis& a) {
  if (a.guards.empty()) return "";
  std::string text =
      "## Against fooling oneself\n\nFigures are means over seeds of the last quarter of the iterations. t "
      "is "
      "that of the least-squares trend over all iterations, of the mean over seeds: of the rhythm terms "
      "before "
      "standardisation, and of the accuracy of the sampled answers. Above 2 and below -2 together mean that "
      "rhythm may be bought with accuracy. Where lambda is 0 nothing is paid and nothing can be gamed.\n\n" +
      trends_table(a) + "\n";
  bool any_paid = false, any_trend = false;
  std::string warnings;
  for (const Guard& g : a.guards) {
    any_paid = any_paid || g.is_paid;
    any_trend = any_trend || g.num_trends > 0;
    if (g.warning) warnings += "* **Reward hacking?** " + warning_of(g) + "\n";
  }
  if (!warnings.empty())
    text += warnings + "\n";
  else if (any_trend)
    text += "No arm shows a rhythm that rises while accuracy falls.\n\n";
  else if (any_paid)
    text += "No run is long enough for trends, so this says nothing about reward hacking.\n\n";
  const std::string terms = terms_table(a);
  if (!terms.empty())
    text +=
        "### Terms by right and wrong answers\n\nMeans of what the metrics log. A difference between the two "
        "columns may come from length, number of steps or style: nothing is held constant.\n\n" +
        terms + "\n";
  return text;
}

std::string method_text(const Plan& plan, const Analysis& a) {
  const ExperimentConfig& c = plan.experiment.config;
  bool exact = true;
  for (const Comparison& comparison : a.comparisons) exact = exact && comparison.test.exact;
  return "Metric: `" + c.metric +
         "` of the evaluation after the last iteration. The seed is the unit: p is a "
         "two-sided sign-flip test of the paired differences by seed (" +
         (exact ? "exact, all sign patterns"
                : "above 20 seeds 200,000 random sign patterns of a fixed seed") +
         "), adjusted by Holm over " + std::to_string(a.num_tests) + " planned comparisons at level " +
         format("%.3g", c.alpha) +
         ". Intervals are t intervals over seeds, unadjusted. Seeds needed: to see a "
         "difference of " +
         shown_difference(c.difference_of_interest, a.in_percent).substr(1) + " with probability " +
         format("%.2g", c.power) +
         " by a paired t test with the standard deviation seen here, and never fewer "
         "than the sign-flip test needs; \"all\" at the level divided by the number of comparisons.\n";
}

std::string file_name_of(const std::string& metric) {
  std::string name = "curve_";
  for (char c : metric) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + ".svg";
}

}  // namespace

Json report_json(const Plan& plan, const Results& results, const Analysis& a) {
  const ExperimentConfig& c = plan.experiment.config;
  Json json = {{"name", c.name},         {"metric", c.metric}, {"alpha", c.alpha},
               {"baseline", c.baseline}, {"seeds", c.seeds},   {"num_comparisons", a.num_tests}};
  json["provisional"] = a.num_missing > 0;
  json["num_missing"] = a.num_missing;
  json["program"] = plan.program;
  json["programs_of_runs"] = results.programs;
  json["models"] = plan.models;
  json["base"] = config::resolved(plan.base);
  json["difference_of_interest"] = c.difference_of_interest;
  json["power"] = c.power;
  for (size_t i = 0; i < a.arms.size(); ++i) {
    Json arm = json_of(a.arms[i]);
    arm["changes"] = changes_of(plan, i);
    arm["evaluate_only"] = results.arms[i].evaluate_only;
    json["arms"][a.arms[i].name] = std::move(arm);
  }
  json["comparisons"] = Json::array();
  for (const Comparison& comparison : a.comparisons) json["comparisons"].push_back(json_of(comparison));
  json["guards"] = Json::object();
  for (const Guard& g : a.guards) json["guards"][g.arm] = json_of(g);
  return json;
}

std::string report_markdown(const Plan& plan, const Results& results, const Analysis& a,
                            const std::vector<std::pair<std::string, std::string>>& pictures) {
  std::string text = "# " + plan.experiment.config.name + "\n\n";
  std::string missing;
  for (const ArmSummary& arm : a.arms)
    if (!arm.missing.empty()) {
      missing += (missing.empty() ? "" : "; ") + arm.name + ": seed";
      for (size_t i = 0; i < arm.missing.size(); ++i)
        missing += (i ? ", " : arm.missing.size() > 1 ? "s " : " ") + std::to_string(arm.missing[i]);
    }
  if (!missing.empty())
    text += "**Provisional.** Missing: " + missing +
            ". A comparison that is not complete counts as p = 1 in Holm's correction, and nothing is called "
            "significant before all is there.\n\n";
  if (results.programs.size() > 1)
    text += "**Mixed.** The runs were made by " + std::to_string(results.programs.size()) +
            " versions of the program (report.json, `programs_of_runs`).\n\n";
  text += "## What was found\n\n";
  for (const Comparison& c : a.comparisons) text += "* " + c.sentence + "\n";
  text += "\n" + method_text(plan, a) + "\n## Arms\n\n" + arms_table(plan, a) + "\n";
  text += "| arm | changes |\n|---|---|\n";
  for (size_t i = 0; i < a.arms.size(); ++i)
    text += row({a.arms[i].name, "`" + core::dump_json(changes_of(plan, i)) + "`"});
  text += "\n## Comparisons\n\n" + comparisons_table(a) + "\n";
  text += guards_text(a);
  if (!pictures.empty()) text += "## Learning curves\n\n";
  for (const auto& [file, title] : pictures) text += "![" + title + "](" + file + ")\n\n";
  const std::string items = items_table(a);
  if (!items.empty())
    text +=
        "## Within one seed: McNemar's exact test on the same items (secondary)\n\nIt asks whether these two "
        "models differ, not whether the method helps; no correction.\n\n" +
        items;
  return text;
}

Chart curve_chart(const Results& results, const std::string& metric, int64_t num_seeds) {
  Chart chart{.title = metric, .x_label = "iteration", .y_label = metric, .note = {}, .lines = {}};
  chart.note = "mean over up to " + std::to_string(num_seeds) +
               " seeds, band: 95 % t interval, thin: single seeds; finished runs only";
  bool share = metric.find("accuracy") != std::string::npos || metric.find("rate") != std::string::npos;
  for (const ArmResults& arm : results.arms) {
    ChartLine line{.name = arm.name, .points = {}};
    std::map<int64_t, std::vector<double>> by_iteration;
    for (const auto& [seed, cell] : arm.cells) {
      const auto found = cell.curves.find(metric);
      if (found == cell.curves.end()) continue;
      line.thin.emplace_back();
      for (const auto& [iteration, value] : found->second) {
        by_iteration[iteration].push_back(value);
        line.thin.back().emplace_back(static_cast<double>(iteration), value);
        share = share && value >= 0 && value <= 1;
      }
    }
    for (const auto& [iteration, values] : by_iteration) {
      const TInterval i = t_interval(values);
      line.points.push_back({static_cast<double>(iteration), i.mean, i.low, i.high});
    }
    if (!line.points.empty()) chart.lines.push_back(std::move(line));
  }
  chart.in_percent = share;
  return chart;
}

void write_report(const Plan& plan, const Results& results, const Analysis& analysis) {
  const ExperimentConfig& c = plan.experiment.config;
  core::Disk& disk = core::disk();
  disk.make_folders(c.output);
  std::vector<std::pair<std::string, std::string>> pictures;
  for (const std::string& metric : c.curves) {
    pictures.emplace_back(file_name_of(metric), metric);
    core::write_file_atomic(disk, c.output + "/" + pictures.back().first,
                            svg_of(curve_chart(results, metric, static_cast<int64_t>(c.seeds.size()))));
  }
  core::write_file_atomic(disk, c.output + "/report.json",
                          core::dump_json(report_json(plan, results, analysis), 2) + "\n");
  core::write_file_atomic(disk, c.output + "/report.md", report_markdown(plan, results, analysis, pictures));
}

}  // namespace pan::experiment
