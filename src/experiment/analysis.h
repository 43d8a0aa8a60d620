// From results to what may be said about them: a pure function.
//
//   const Analysis a = analyse(read_results(plan), plan.experiment.config);
//   a.comparisons[0].sentence   // "No difference shown between lambda_0.1 and lambda_0: ..."
//
// Definitions and sources: docs/experiments.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiment/experiment_config.h"
#include "experiment/guards.h"
#include "experiment/results.h"
#include "experiment/statistics.h"

namespace pan::experiment {

struct ArmSummary {
  std::string name;
  std::vector<int64_t> seeds, missing;
  std::vector<double> values;  // by seed
  TInterval interval;          // no bounds with fewer than two seeds or where one evaluation serves all seeds
  double deviation = 0;        // NaN in the same cases
  bool one_evaluation = false;
};

struct ItemTest {
  int64_t seed = 0;
  int64_t num_items = 0, only_arm = 0, only_against = 0;
  double p = 1;
};

struct Comparison {
  std::string arm, against;
  std::vector<int64_t> seeds;       // with both runs finished
  std::vector<double> differences;  // arm minus against
  int64_t num_planned = 0;          // seeds of the plan
  TInterval interval;
  double deviation = 0;   // of the differences; NaN with fewer than two
  bool in_family = true;  // seeds can differ, so Holm counts it, finished or not
  bool has_test = false;  // in the family, and at least one seed has finished in both arms
  SignFlip test;
  double adjusted_p = 1;   // Holm over all planned comparisons; one that is not complete counts as p = 1
  bool can_reach = false;  // the smallest possible p, adjusted, is at most alpha
  double smallest_adjusted_p = 1;
  int64_t seeds_to_reach = 0;              // fewest seeds for which can_reach may hold
  std::optional<double> effect;            // d_z
  std::optional<double> effect_corrected;  // times Hedges' factor
  std::optional<int64_t> needed;           // seeds to see the difference of interest, this comparison alone
  std::optional<int64_t> needed_all;       // the same at alpha over the number of comparisons
  std::vector<ItemTest> items;             // secondary; empty where the items differ or have several answers
  bool significant = false;                // never while a run of the experiment is missing
  std::string sentence;

  bool is_complete() const { return static_cast<int64_t>(seeds.size()) == num_planned; }
};

struct Analysis {
  std::vector<ArmSummary> arms;
  std::vector<Comparison> comparisons;  // as planned, finished or not
  std::vector<Guard> guards;            // of trained arms with a finished run
  int64_t num_tests = 0;                // planned comparisons that Holm's correction counts
  int64_t num_missing = 0;              // results that are planned and not there: all is provisional
  bool in_percent = false;              // the metric is a share: shown in percent, differences in points
};

Analysis analyse(const Results& results, const ExperimentConfig& config);

}  // namespace pan::experiment
