#include "train/hacking_guard.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace pan::train {
namespace {

constexpr double kLargestT = 1e6;  // a series without scatter has no finite t
constexpr double kAlarmT = 2;

}  // namespace

Trend trend_of(const std::vector<double>& y) {
  const auto n = static_cast<double>(y.size());
  PAN_CHECK(y.size() >= 3, kInternal, "a trend needs three values").got(std::to_string(y.size()));
  double mean = 0, size = 0;
  for (double v : y) mean += v / n, size = std::max(size, std::abs(v));
  double xx = 0, xy = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double x = static_cast<double>(i) - (n - 1) / 2;
    xx += x * x;
    xy += x * (y[i] - mean);
  }
  Trend trend{.slope = xy / xx};
  double rest = 0;  // squared residuals
  for (size_t i = 0; i < y.size(); ++i) {
    const double r = y[i] - mean - trend.slope * (static_cast<double>(i) - (n - 1) / 2);
    rest += r * r;
  }
  if (std::abs(trend.slope) <= 1e-14 * size) return {};  // rounding of a constant
  const double error = std::sqrt(rest / (n - 2) / xx);
  trend.t = error > 0 ? std::clamp(trend.slope / error, -kLargestT, kLargestT)
                      : std::copysign(kLargestT, trend.slope);
  return trend;
}

core::Json GuardState::to_json() const {
  core::Json points = core::Json::array();
  for (const GuardPoint& p : window) points.push_back({p.entropy, p.concentration, p.accuracy});
  return {{"window", points}, {"warnings", warnings}};
}

GuardState GuardState::from_json(const core::Json& json, const std::string& source) {
  GuardState state;
  state.warnings = core::get_required<int64_t>(json, "/warnings", source);
  const core::Json points = json.value("window", core::Json::array());
  for (const core::Json& p : points) {
    PAN_CHECK(p.is_array() && p.size() == 3, kData, "the rhythm guard's state is damaged")
        .where(source)
        .pointer("/guard/window")
        .expected("lists of three numbers")
        .got(p.dump())
        .remedy("Resume from another checkpoint of the run");
    state.window.push_back({p[0].get<double>(), p[1].get<double>(), p[2].get<double>()});
  }
  return state;
}

std::optional<GuardReport> guard_rhythm(const rhythm::RhythmConfig& config, const GuardPoint& point,
                                        double sigma_entropy, double sigma_concentration, GuardState& state) {
  if (config.guard_window == 0) return std::nullopt;
  if (!std::isfinite(point.entropy + point.concentration + point.accuracy)) return std::nullopt;
  state.window.push_back(point);
  const auto length = static_cast<size_t>(config.guard_window);
  while (state.window.size() > length) state.window.erase(state.window.begin());
  if (state.window.size() < length) return std::nullopt;
  std::vector<double> rhythm, accuracy;
  for (const GuardPoint& p : state.window) {
    double value = 0;
    if (sigma_entropy > 0) value += config.w_pre * p.entropy / sigma_entropy;
    if (sigma_concentration > 0) value += config.w_anc * p.concentration / sigma_concentration;
    rhythm.push_back(value);
    accuracy.push_back(p.accuracy);
  }
  GuardReport report{.rhythm = trend_of(rhythm), .accuracy = trend_of(accuracy), .warned = false};
  report.warned = config.lambda > 0 && report.rhythm.t > kAlarmT && report.accuracy.t < -kAlarmT;
  if (report.warned) {
    ++state.warnings;
    state.window.clear();
  }
  return report;
}

}  // namespace pan::train
