#include "experiment/guards.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "experiment/statistics.h"
#include "train/hacking_guard.h"

namespace pan::experiment {
namespace {

constexpr size_t kFewestPoints = 5;  // as rhythm.guard_window

const Curve* curve_of(const CellResult& cell, const std::string& key) {
  const auto found = cell.curves.find(key);
  return found == cell.curves.end() || found->second.empty() ? nullptr : &found->second;
}

std::optional<double> last_quarter(const CellResult& cell, const std::string& key) {
  const Curve* curve = curve_of(cell, key);
  if (curve == nullptr) return {};
  const size_t n = std::max<size_t>(1, curve->size() / 4);
  double sum = 0;
  for (size_t i = curve->size() - n; i < curve->size(); ++i) sum += (*curve)[i].second;
  return sum / static_cast<double>(n);
}

std::optional<double> mean_over_seeds(const ArmResults& arm, const std::string& key) {
  std::vector<double> values;
  for (const auto& [seed, cell] : arm.cells)
    if (const std::optional<double> v = last_quarter(cell, key)) values.push_back(*v);
  if (values.empty()) return {};
  return mean_of(values);
}

std::vector<TermMeans> terms_of(const ArmResults& arm) {
  std::set<std::string> names;
  for (const auto& [seed, cell] : arm.cells)
    for (const auto& [key, curve] : cell.curves)
      for (const std::string end : {"/right", "/wrong"})
        if (key.size() > end.size() && key.compare(key.size() - end.size(), end.size(), end) == 0)
          names.insert(key.substr(0, key.size() - end.size()));
  std::vector<TermMeans> terms;
  for (const std::string& name : names)
    terms.push_back({name, mean_over_seeds(arm, name + "/right"), mean_over_seeds(arm, name + "/wrong")});
  return terms;
}

// What the guard looks at, by iteration, and the deviations at the end.
struct Watched {
  std::map<int64_t, train::GuardPoint> points;
  double sigma_entropy = 0, sigma_concentration = 0;
};

Watched watched(const CellResult& cell) {
  Watched w;
  const Curve* entropy = curve_of(cell, "rhythm/entropy_term/mean");
  const Curve* concentration = curve_of(cell, "rhythm/concentration_term/mean");
  // With dynamic sampling, of all answers that were sampled and not only of those trained on.
  const Curve* accuracy = curve_of(cell, "sampling/accuracy");
  if (accuracy == nullptr) accuracy = curve_of(cell, "reward/accuracy");
  if (entropy == nullptr || concentration == nullptr || accuracy == nullptr) return w;
  const std::map<int64_t, double> c(concentration->begin(), concentration->end());
  const std::map<int64_t, double> a(accuracy->begin(), accuracy->end());
  for (const auto& [iteration, e] : *entropy)
    if (c.count(iteration) && a.count(iteration))
      w.points[iteration] = {.entropy = e, .concentration = c.at(iteration), .accuracy = a.at(iteration)};
  if (const Curve* s = curve_of(cell, "rhythm/sigma/entropy")) w.sigma_entropy = s->back().second;
  if (const Curve* s = curve_of(cell, "rhythm/sigma/concentration")) w.sigma_concentration = s->back().second;
  return w;
}

// Over the iterations that all have.
Watched mean_of(const std::vector<Watched>& all) {
  Watched mean;
  const auto n = static_cast<double>(all.size());
  std::map<int64_t, size_t> count;
  for (const Watched& w : all) {
    mean.sigma_entropy += w.sigma_entropy / n;
    mean.sigma_concentration += w.sigma_concentration / n;
    for (const auto& [iteration, p] : w.points) {
      train::GuardPoint& sum = mean.points[iteration];
      sum.entropy += p.entropy / n;
      sum.concentration += p.concentration / n;
      sum.accuracy += p.accuracy / n;
      ++count[iteration];
    }
  }
  for (const auto& [iteration, c] : count)
    if (c < all.size()) mean.points.erase(iteration);
  return mean;
}

std::optional<train::GuardReport> report_of(const Watched& w, rhythm::RhythmConfig config) {
  if (w.points.size() < kFewestPoints) return {};
  config.guard_window = static_cast<int64_t>(w.points.size());
  train::GuardState state;
  std::optional<train::GuardReport> report;
  for (const auto& [iteration, point] : w.points)
    report = train::guard_rhythm(config, point, w.sigma_entropy, w.sigma_concentration, state);
  return report;
}

void watch(const ArmResults& arm, Guard& g) {
  std::vector<Watched> runs;
  for (const auto& [seed, cell] : arm.cells) {
    if (const Curve* warnings = curve_of(cell, "rhythm/guard/warnings"))
      g.num_warned += warnings->back().second > 0;
    runs.push_back(watched(cell));
    const std::optional<train::GuardReport> report = report_of(runs.back(), arm.rhythm);
    g.num_trends += report.has_value();
    g.num_risen += report && report->warned;
  }
  g.warning = g.num_warned > 0 || g.num_risen > 0;
  const std::optional<train::GuardReport> report = report_of(mean_of(runs), arm.rhythm);
  if (!report) return;
  g.rhythm_t = report->rhythm.t;
  g.accuracy_t = report->accuracy.t;
  g.warning = g.warning || report->warned;
}

}  // namespace

std::optional<Guard> guard_of(const ArmResults& arm) {
  if (arm.evaluate_only || arm.cells.empty()) return {};
  Guard g;
  g.arm = arm.name;
  g.is_paid = arm.rhythm.enabled && arm.rhythm.lambda > 0;
  for (const char* key : {"rhythm/reward/corr_length", "rhythm/reward/corr_steps", "rhythm/entropy_term/mean",
                          "rhythm/concentration_term/mean"})
    g.figures.emplace_back(key, mean_over_seeds(arm, key));
  g.terms = terms_of(arm);
  if (g.is_paid) watch(arm, g);
  return g;
}

}  // namespace pan::experiment
