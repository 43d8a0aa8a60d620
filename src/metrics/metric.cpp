#include "metrics/metric.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace pan::metrics {

double Metric::value() const {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  switch (kind) {
    case Kind::kMean:
      return a / count;
    case Kind::kSpread:
      return std::sqrt(a / count);
    default:
      return a;
  }
}

void Metric::merge(const Metric& later) {
  PAN_CHECK(kind == later.kind, kInternal, "two metrics of different kinds were merged");
  if (later.count == 0) return;
  if (count == 0) {
    *this = later;
    return;
  }
  switch (kind) {
    case Kind::kMean:
    case Kind::kSum:
      a += later.a;
      break;
    // A NaN must stay visible, whichever side it is on.
    case Kind::kMax:
      a = std::isnan(later.a) || later.a > a ? later.a : a;
      break;
    case Kind::kMin:
      a = std::isnan(later.a) || later.a < a ? later.a : a;
      break;
    case Kind::kLast:
      a = later.a;
      break;
    case Kind::kSpread: {  // Chan, Golub, LeVeque 1983: deviations of both parts around the common mean
      const double n = count + later.count, difference = later.mean - mean;
      a += later.a + difference * difference * count * later.count / n;
      mean += difference * later.count / n;
      break;
    }
  }
  count += later.count;
}

Metric& MetricSet::at(const std::string& key, Kind kind) {
  const auto [it, fresh] = metrics_.try_emplace(key, Metric{kind, 0, 0, 0});
  PAN_CHECK(fresh || it->second.kind == kind, kInternal, "a metric was used with two kinds").pointer(key);
  return it->second;
}

void MetricSet::mean(const std::string& key, double sum, double count) {
  at(key, Kind::kMean).merge({Kind::kMean, sum, count, 0});
}
void MetricSet::sum(const std::string& key, double value) {
  at(key, Kind::kSum).merge({Kind::kSum, value, 1, 0});
}
void MetricSet::max(const std::string& key, double value) {
  at(key, Kind::kMax).merge({Kind::kMax, value, 1, 0});
}
void MetricSet::min(const std::string& key, double value) {
  at(key, Kind::kMin).merge({Kind::kMin, value, 1, 0});
}
void MetricSet::last(const std::string& key, double value) {
  at(key, Kind::kLast).merge({Kind::kLast, value, 1, 0});
}

void MetricSet::spread(const std::string& key, const std::vector<double>& samples) {
  Metric& metric = at(key, Kind::kSpread);
  if (samples.empty()) return;
  double total = 0, squares = 0;
  for (double x : samples) total += x;
  const double mean = total / static_cast<double>(samples.size());
  for (double x : samples) squares += (x - mean) * (x - mean);
  metric.merge({Kind::kSpread, squares, static_cast<double>(samples.size()), mean});
}

void MetricSet::three(const std::string& prefix, const std::vector<double>& samples) {
  for (double x : samples) {
    mean(prefix + "/mean", x);
    max(prefix + "/max", x);
    min(prefix + "/min", x);
  }
}

void MetricSet::put(const Values& figures) {
  for (const auto& [key, value] : figures) last(key, value);
}

void MetricSet::merge(const MetricSet& later) {
  for (const auto& [key, metric] : later.metrics_) at(key, metric.kind).merge(metric);
}

Values MetricSet::values() const {
  Values out;
  for (const auto& [key, metric] : metrics_) {
    if (metric.count > 0) out[key] = metric.value();
  }
  return out;
}

core::Json MetricSet::to_json() const {
  core::Json json = core::Json::object();
  for (const auto& [key, m] : metrics_) json[key] = {static_cast<int>(m.kind), m.a, m.count, m.mean};
  return json;
}

MetricSet MetricSet::from_json(const core::Json& json, const std::string& source) {
  MetricSet set;
  PAN_CHECK(json.is_object(), kData, "metrics must be an object").where(source);
  for (const auto& [key, entry] : json.items()) {
    const bool numbers =
        entry.is_array() && entry.size() == 4 &&
        std::all_of(entry.begin(), entry.end(), [](const auto& x) { return x.is_number() || x.is_null(); });
    PAN_CHECK(numbers && entry[0].is_number_integer() && entry[0].get<int>() >= 0 && entry[0].get<int>() <= 5,
              kData, "a metric is damaged")
        .where(source)
        .pointer(key)
        .expected("[kind, number, count, mean]");
    const auto number = [&](size_t i) {
      return entry[i].is_null() ? std::numeric_limits<double>::quiet_NaN() : entry[i].get<double>();
    };
    set.metrics_[key] = {static_cast<Kind>(entry[0].get<int>()), number(1), number(2), number(3)};
  }
  return set;
}

}  // namespace pan::metrics
