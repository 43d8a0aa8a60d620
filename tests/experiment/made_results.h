// Results of an experiment that was never run.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiment/results.h"

namespace pan::testing {

// Values by seed 1, 2, ...; nothing where the run is missing.
inline experiment::ArmResults made_arm(const std::string& name, const std::vector<std::string>& against,
                                       const std::vector<std::optional<double>>& values) {
  experiment::ArmResults arm{
      .name = name, .against = against, .evaluate_only = false, .rhythm = {}, .cells = {}, .missing = {}};
  for (size_t i = 0; i < values.size(); ++i) {
    const auto seed = static_cast<int64_t>(i + 1);
    if (!values[i]) {
      arm.missing.push_back(seed);
      continue;
    }
    experiment::CellResult cell;
    cell.value = *values[i];
    arm.cells[seed] = cell;
  }
  return arm;
}

// A series over iterations 1, 2, ...
inline experiment::Curve made_curve(const std::vector<double>& values) {
  experiment::Curve curve;
  for (size_t i = 0; i < values.size(); ++i) curve.emplace_back(static_cast<int64_t>(i + 1), values[i]);
  return curve;
}

}  // namespace pan::testing
