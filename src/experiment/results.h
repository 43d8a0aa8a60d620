// What the runs of an experiment left on the disk, read back.
//
//   const Results r = read_results(plan);            // of finished cells; the others are listed as missing
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiment/plan.h"
#include "rhythm/rhythm_config.h"

namespace pan::experiment {

using Curve = std::vector<std::pair<int64_t, double>>;  // iteration (0 = before training) and value

struct CellResult {
  double value = 0;                       // the experiment's metric
  std::map<std::string, bool> right;      // by problem; empty where a problem has several answers
  std::map<std::string, Curve> curves;    // every figure of metrics.jsonl, and the start evaluation's at 0
  std::map<std::string, double> metrics;  // of the last evaluation, keys begin with eval/
};

struct ArmResults {
  std::string name;
  std::vector<std::string> against;
  bool evaluate_only = false;
  rhythm::RhythmConfig rhythm;  // its settings, the same with every seed
  bool one_evaluation = false;  // all seeds share one evaluation: greedy answers of an untrained model
  std::map<int64_t, CellResult> cells;  // by seed
  std::vector<int64_t> missing;         // seeds without a finished run
};

struct Results {
  std::vector<ArmResults> arms;
  std::map<std::string, int64_t> programs{};  // versions that finished runs were begun or gone on with: runs
  const ArmResults& arm(const std::string& name) const;
};

// Errors: kData where a file of a finished run cannot be read; kConfig as state_of().
Results read_results(const Plan& plan);

// Both parts of a run's log that a plan needs: the curves of metrics.jsonl. A last line that is cut off is
// left out, and of lines of the same iteration the last counts.
std::map<std::string, Curve> read_curves(const std::string& metrics_path);

}  // namespace pan::experiment
