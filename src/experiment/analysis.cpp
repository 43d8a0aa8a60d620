#include "experiment/analysis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>

namespace pan::experiment {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

template <class... A>
std::string format(const char* pattern, A... a) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, a...);
  return text;
}

std::string plural(int64_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

ArmSummary summary_of(const ArmResults& arm) {
  ArmSummary s{.name = arm.name, .seeds = {}, .missing = arm.missing, .values = {}, .interval = {}};
  for (const auto& [seed, cell] : arm.cells) s.seeds.push_back(seed), s.values.push_back(cell.value);
  s.one_evaluation = arm.one_evaluation;
  s.interval = t_interval(s.values);
  s.deviation = deviation_of(s.values);
  if (s.one_evaluation) s.interval.low = s.interval.high = s.deviation = kNan;
  return s;
}

std::vector<ItemTest> item_tests(const ArmResults& arm, const ArmResults& against, bool once) {
  std::vector<ItemTest> tests;
  for (const auto& [seed, cell] : arm.cells) {
    const auto other = against.cells.find(seed);
    if (other == against.cells.end() || cell.right.empty()) continue;
    const auto& theirs = other->second.right;
    ItemTest t{.seed = seed, .num_items = static_cast<int64_t>(cell.right.size())};
    bool same = theirs.size() == cell.right.size();
    for (auto a = cell.right.begin(), b = theirs.begin(); same && a != cell.right.end(); ++a, ++b) {
      same = a->first == b->first;
      t.only_arm += a->second && !b->second;
      t.only_against += !a->second && b->second;
    }
    if (!same) return {};
    t.p = mcnemar_exact(t.only_arm, t.only_against);
    tests.push_back(t);
    if (once) break;
  }
  return tests;
}

Comparison compare(const ArmResults& arm, const ArmResults& against) {
  Comparison c;
  c.arm = arm.name;
  c.against = against.name;
  for (const auto& [seed, cell] : arm.cells) {
    const auto other = against.cells.find(seed);
    if (other == against.cells.end()) continue;
    c.seeds.push_back(seed);
    c.differences.push_back(cell.value - other->second.value);
  }
  // Two evaluations of one untrained model differ by the same amount with every seed: that is one
  // observation.
  const bool once = arm.one_evaluation && against.one_evaluation;
  c.has_test = !c.seeds.empty() && !once;
  c.interval = t_interval(c.differences);
  c.deviation = deviation_of(c.differences);
  if (once) c.interval.low = c.interval.high = c.deviation = kNan;
  c.items = item_tests(arm, against, once);
  if (!c.has_test) return c;
  c.test = sign_flip_test(c.differences);
  c.effect = effect_size(c.differences);
  const std::optional<double> factor = hedges_factor(static_cast<int64_t>(c.differences.size()));
  if (c.effect && factor) c.effect_corrected = *c.effect * *factor;
  return c;
}

void adjust(std::vector<Comparison>& comparisons, const ExperimentConfig& config, int64_t& num_tests) {
  std::vector<size_t> tested;
  std::vector<double> p;
  for (size_t i = 0; i < comparisons.size(); ++i)
    if (comparisons[i].has_test) tested.push_back(i), p.push_back(comparisons[i].test.p);
  num_tests = static_cast<int64_t>(tested.size());
  const std::vector<double> adjusted = holm(p);
  for (size_t j = 0; j < tested.size(); ++j) {
    Comparison& c = comparisons[tested[j]];
    c.adjusted_p = adjusted[j];
    // What Holm would make of the smallest p that so many seeds can give, the others being as they are.
    std::vector<double> best = p;
    best[j] = c.test.exact ? c.test.smallest_p : 1 / static_cast<double>(1 + c.test.num_draws);
    c.smallest_adjusted_p = holm(best)[j];
    c.can_reach = c.smallest_adjusted_p <= config.alpha;
    c.seeds_to_reach = seeds_to_reach(num_tests, config.alpha);
    c.significant = c.can_reach && c.adjusted_p <= config.alpha;
    // A sign-flip test cannot reach alpha with fewer, however large the difference.
    const auto at_least = [&](std::optional<int64_t> n,
                              int64_t comparisons_counted) -> std::optional<int64_t> {
      if (!n) return n;
      return std::max(*n, seeds_to_reach(comparisons_counted, config.alpha));
    };
    const double d = config.difference_of_interest;
    c.needed = at_least(seeds_needed(d, c.deviation, config.power, config.alpha), 1);
    c.needed_all = at_least(
        seeds_needed(d, c.deviation, config.power, config.alpha / static_cast<double>(num_tests)), num_tests);
  }
}

std::string bounds(const TInterval& i, bool in_percent) {
  if (std::isnan(i.low)) return "";
  const double scale = in_percent ? 100 : 1;
  return format(in_percent ? " [%+.1f, %+.1f]" : " [%+.4g, %+.4g]", scale * i.low, scale * i.high);
}

std::string sentence_of(const Comparison& c, const ExperimentConfig& config, int64_t num_tests,
                        bool in_percent) {
  const std::string pair = c.arm + " and " + c.against;
  if (c.seeds.empty()) return "Nothing can be said about " + pair + ": no seed has finished in both.";
  const std::string difference =
      shown_difference(c.interval.mean, in_percent) + bounds(c.interval, in_percent);
  if (!c.has_test) {
    std::string text = "Nothing is claimed about " + pair + " (" + difference +
                       "): neither is trained and each is evaluated once, so there are no seeds to compare.";
    if (!c.items.empty())
      text += " On the same " + plural(c.items[0].num_items, "item") + " McNemar's p is " +
              shown_p(c.items[0].p) + ", which speaks of these items alone.";
    return text;
  }
  const std::string figures = difference + " over " + plural(static_cast<int64_t>(c.seeds.size()), "seed") +
                              ", p = " + shown_p(c.test.p) + ", adjusted " + shown_p(c.adjusted_p);
  if (!c.can_reach)
    return "No claim about " + pair + " (" + figures + "): with " +
           plural(static_cast<int64_t>(c.seeds.size()), "seed") + " and " + plural(num_tests, "comparison") +
           " the smallest adjusted p that any data could give is " + shown_p(c.smallest_adjusted_p) +
           ", above " + format("%.3g", config.alpha) + "; at least " + std::to_string(c.seeds_to_reach) +
           " seeds are needed.";
  if (c.significant)
    return c.arm + " has a " + (c.interval.mean > 0 ? "higher " : "lower ") + config.metric + " than " +
           c.against + ": " + figures + ".";
  std::string text = "No difference shown between " + pair + ": " + figures + ".";
  if (c.needed)
    text += " To see " + shown_difference(config.difference_of_interest, in_percent).substr(1) +
            " with probability " + format("%.2g", config.power) + ", about " + plural(*c.needed, "seed") +
            " would be needed for this comparison alone" +
            (num_tests > 1 && c.needed_all
                 ? ", " + std::to_string(*c.needed_all) + " for all " + std::to_string(num_tests)
                 : "") +
            ".";
  return text;
}

// Mean of the first or the last quarter of a curve, at least one point.
std::optional<double> quarter(const CellResult& cell, const std::string& key, bool last) {
  const auto found = cell.curves.find(key);
  if (found == cell.curves.end() || found->second.empty()) return {};
  const Curve& curve = found->second;
  const size_t n = std::max<size_t>(1, curve.size() / 4), from = last ? curve.size() - n : 0;
  double sum = 0;
  for (size_t i = from; i < from + n; ++i) sum += curve[i].second;
  return sum / static_cast<double>(n);
}

std::optional<double> mean_over_seeds(const ArmResults& arm,
                                      const std::function<std::optional<double>(const CellResult&)>& of) {
  std::vector<double> values;
  for (const auto& [seed, cell] : arm.cells)
    if (const std::optional<double> v = of(cell)) values.push_back(*v);
  if (values.empty()) return {};
  return mean_of(values);
}

std::optional<double> change(const ArmResults& arm, const std::string& key) {
  return mean_over_seeds(arm, [&](const CellResult& cell) -> std::optional<double> {
    const auto first = quarter(cell, key, false), last = quarter(cell, key, true);
    if (!first || !last) return {};
    return *last - *first;
  });
}

Guard guard_of(const ArmResults& arm) {
  Guard g;
  g.arm = arm.name;
  const std::vector<std::string> keys = {"rhythm/reward/mean", "rhythm/reward/right", "rhythm/reward/wrong",
                                         "rhythm/reward/corr_length", "rhythm/reward/corr_steps"};
  for (const std::string& key : keys)
    g.figures.emplace_back(key,
                           mean_over_seeds(arm, [&](const CellResult& c) { return quarter(c, key, true); }));
  g.rhythm_change = change(arm, "rhythm/reward/mean");
  g.accuracy_change = change(arm, "reward/accuracy");
  for (const auto& [seed, cell] : arm.cells) g.num_warned += cell.hacking_warned;
  g.warning = g.rhythm_change && g.accuracy_change && *g.rhythm_change > 0 && *g.accuracy_change < 0;
  return g;
}

// Accuracies, rates and the like: everything seen lies in 0..1 and the name says so.
bool is_share(const Results& results, const std::string& metric) {
  bool named = false;
  for (const char* part : {"accuracy", "pass@", "maj@", "avg@", "rate"})
    named = named || metric.find(part) != std::string::npos;
  for (const ArmResults& arm : results.arms)
    for (const auto& [seed, cell] : arm.cells) named = named && cell.value >= 0 && cell.value <= 1;
  return named;
}

}  // namespace

std::string shown(double value, bool in_percent) {
  if (std::isnan(value)) return "-";
  return in_percent ? format("%.1f %%", 100 * value) : format("%.4g", value);
}

std::string shown_difference(double value, bool in_percent) {
  if (std::isnan(value)) return "-";
  return in_percent ? format("%+.1f points", 100 * value) : format("%+.4g", value);
}

std::string shown_p(double p) { return p < 0.001 ? format("%.2g", p) : format("%.4f", p); }

Analysis analyse(const Results& results, const ExperimentConfig& config) {
  Analysis a;
  a.in_percent = is_share(results, config.metric);
  for (const ArmResults& arm : results.arms) {
    a.arms.push_back(summary_of(arm));
    if (!arm.against.empty()) a.comparisons.push_back(compare(arm, results.arm(arm.against)));
    Guard guard = guard_of(arm);
    if (guard.figures[0].second || guard.num_warned > 0) a.guards.push_back(std::move(guard));
  }
  adjust(a.comparisons, config, a.num_tests);
  for (Comparison& c : a.comparisons) c.sentence = sentence_of(c, config, a.num_tests, a.in_percent);
  return a;
}

}  // namespace pan::experiment
