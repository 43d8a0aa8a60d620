// Figures that merge: over micro-batches, over phases of an iteration, over ranks. What is stored is enough
// to combine two of them exactly, so a mean over everything is never a mean of means.
//
//   metrics::MetricSet m;
//   m.mean("actor/pg_clipfrac", clipped, tokens);      // sum and count
//   m.max("response_length/max", 412);
//   m.merge(other_rank);
//   for (const auto& [key, value] : m.values()) ...
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"

namespace pan::metrics {

// How two values of one key combine. Never renumber: written into checkpoints and sent between ranks.
enum class Kind {
  kMean = 0,    // sum / count
  kSum = 1,     // sum
  kMax = 2,     // largest
  kMin = 3,     // smallest
  kLast = 4,    // the later one (settings such as the learning rate)
  kSpread = 5,  // standard deviation over all samples, population form (divisor n)
};

// One figure. Value semantics; merging is associative up to rounding, and exact in the given order.
struct Metric {
  Kind kind = Kind::kLast;
  double a = 0;      // mean: sum. spread: sum of squared deviations from `mean`. Others: the value
  double count = 0;  // samples behind it; 0 = nothing yet
  double mean = 0;   // spread only

  // NaN where nothing was added (a mean over no tokens is not 0).
  double value() const;
  // Errors: kInternal when the kinds differ.
  void merge(const Metric& later);
};

using Values = std::map<std::string, double>;

class MetricSet {
 public:
  // Adds to what the key holds already. Errors: kInternal when the key was used with another kind.
  void mean(const std::string& key, double sum, double count = 1);
  void sum(const std::string& key, double value);
  void max(const std::string& key, double value);
  void min(const std::string& key, double value);
  void last(const std::string& key, double value);
  void spread(const std::string& key, const std::vector<double>& samples);

  // <prefix>/mean, <prefix>/max and <prefix>/min of the samples; nothing where there are none.
  void three(const std::string& prefix, const std::vector<double>& samples);
  // Plain figures that other modules computed: each with kind kLast.
  void put(const Values& figures);

  void merge(const MetricSet& later);
  // Keys in alphabetical order. Keys without samples are left out; non-finite figures are kept, so that they
  // show.
  Values values() const;
  bool empty() const { return metrics_.empty(); }

  // Exact round trip (finite numbers), for ranks and checkpoints. Errors of from_json: kData.
  core::Json to_json() const;
  static MetricSet from_json(const core::Json& json, const std::string& source);

 private:
  Metric& at(const std::string& key, Kind kind);
  std::map<std::string, Metric> metrics_;
};

}  // namespace pan::metrics
