#include "experiment/analysis.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "experiment/sentences.h"

namespace pan::experiment {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

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
  c.num_planned = static_cast<int64_t>(arm.cells.size() + arm.missing.size());
  for (const auto& [seed, cell] : arm.cells) {
    const auto other = against.cells.find(seed);
    if (other == against.cells.end()) continue;
    c.seeds.push_back(seed);
    c.differences.push_back(cell.value - other->second.value);
  }
  // Two evaluations of one untrained model differ by the same amount with every seed: that is one
  // observation.
  const bool once = arm.one_evaluation && against.one_evaluation;
  c.in_family = !once;
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

// The smallest p that so many seeds can give.
double smallest_p(int64_t num_seeds) {
  const SignFlip best = sign_flip_test(std::vector<double>(static_cast<size_t>(num_seeds), 1.0));
  return best.exact ? best.smallest_p : 1 / static_cast<double>(1 + best.num_draws);
}

// The family is what was planned: a comparison that has not finished counts, as one that shows nothing.
void adjust(Analysis& a, const ExperimentConfig& config) {
  std::vector<Comparison*> family;
  std::vector<double> p;
  for (Comparison& c : a.comparisons)
    if (c.in_family) family.push_back(&c), p.push_back(c.is_complete() ? c.test.p : 1);
  a.num_tests = static_cast<int64_t>(family.size());
  const std::vector<double> adjusted = holm(p);
  // A sign-flip test cannot reach alpha with fewer, however large the difference.
  const auto at_least = [&](std::optional<int64_t> n, int64_t num_tests) -> std::optional<int64_t> {
    if (!n) return n;
    return std::max(*n, seeds_to_reach(num_tests, config.alpha));
  };
  for (size_t i = 0; i < family.size(); ++i) {
    Comparison& c = *family[i];
    c.adjusted_p = adjusted[i];
    // What Holm would make of the smallest p that the planned seeds can give, the others being as they are.
    std::vector<double> best = p;
    best[i] = smallest_p(c.num_planned);
    c.smallest_adjusted_p = holm(best)[i];
    c.can_reach = c.smallest_adjusted_p <= config.alpha;
    c.seeds_to_reach = seeds_to_reach(a.num_tests, config.alpha);
    c.significant = a.num_missing == 0 && c.can_reach && c.adjusted_p <= config.alpha;
    const double d = config.difference_of_interest;
    c.needed = at_least(seeds_needed(d, c.deviation, config.power, config.alpha), 1);
    c.needed_all =
        at_least(seeds_needed(d, c.deviation, config.power, config.alpha / static_cast<double>(a.num_tests)),
                 a.num_tests);
  }
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

Analysis analyse(const Results& results, const ExperimentConfig& config) {
  Analysis a;
  a.in_percent = is_share(results, config.metric);
  for (const ArmResults& arm : results.arms) {
    a.arms.push_back(summary_of(arm));
    for (const std::string& against : arm.against)
      a.comparisons.push_back(compare(arm, results.arm(against)));
    a.num_missing += static_cast<int64_t>(arm.missing.size());
    if (std::optional<Guard> guard = guard_of(arm)) a.guards.push_back(std::move(*guard));
  }
  adjust(a, config);
  for (Comparison& c : a.comparisons) c.sentence = sentence_of(c, a, config);
  return a;
}

}  // namespace pan::experiment
