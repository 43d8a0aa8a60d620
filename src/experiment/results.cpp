#include "experiment/results.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "experiment/provenance.h"

namespace pan::experiment {
namespace {

using core::Json;

std::map<std::string, double> evaluation_metrics(const std::string& folder) {
  const std::string path = folder + "/results.json";
  const Json json = core::read_json_file(path);
  PAN_CHECK(json.contains("metrics") && json["metrics"].is_object(), kData,
            "results of an evaluation without metrics")
      .where(path)
      .expected("an object `metrics`");
  std::map<std::string, double> metrics;
  for (const auto& [key, value] : json["metrics"].items())
    if (value.is_number()) metrics["eval/" + key] = value.get<double>();
  return metrics;
}

std::map<std::string, bool> right_by_problem(const std::string& path) {
  std::map<std::string, bool> right;
  std::istringstream lines(core::read_file(path));
  for (std::string line; std::getline(lines, line);) {
    const Json row = core::parse_json(line, path);
    const auto id = core::get_required<std::string>(row, "/id", path);
    right[id] = core::get_required<double>(row, "/rewards/correct", path) > 0.5;
  }
  return right;
}

CellResult read_cell(const Plan& plan, const Cell& cell) {
  const ExperimentConfig& c = plan.experiment.config;
  const std::string folder = result_folder(plan, cell);
  CellResult result;
  result.metrics = evaluation_metrics(folder);
  const auto value = result.metrics.find(c.metric);
  if (value == result.metrics.end()) {
    std::string keys;
    for (const auto& [key, unused] : result.metrics) keys += (keys.empty() ? "" : ", ") + key;
    throw core::Error(core::ErrorKind::kConfig, "the evaluation has no such figure")
        .where(folder)
        .pointer("/metric")
        .expected("one of " + keys)
        .got(c.metric);
  }
  result.value = value->second;
  if (cell.config.eval.samples == 1) result.right = right_by_problem(folder + "/samples.jsonl");
  if (plan.arm_of(cell).evaluate_only) return result;
  result.curves = read_curves(cell.folder + "/metrics.jsonl");
  if (cell.start < 0) return result;
  const StartEvaluation& start = plan.evaluations[static_cast<size_t>(cell.start)];
  if (!is_finished(start)) return result;
  for (const auto& [key, v] : evaluation_metrics(start.folder))
    if (result.curves.count(key)) result.curves[key].insert(result.curves[key].begin(), {0, v});
  return result;
}

}  // namespace

const ArmResults& Results::arm(const std::string& name) const {
  for (const ArmResults& a : arms)
    if (a.name == name) return a;
  throw core::Error(core::ErrorKind::kInternal, "no arm " + name);
}

std::map<std::string, Curve> read_curves(const std::string& path) {
  std::map<std::string, std::map<int64_t, double>> found;
  if (!core::exists(path)) return {};
  const std::string text = core::read_file(path);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // being written, or cut off by a crash
    const Json row = core::parse_json(std::string_view(text).substr(begin, end - begin), path);
    begin = end + 1;
    if (!row.is_object() || !row.contains("iteration")) continue;
    const auto iteration = core::get_required<int64_t>(row, "/iteration", path);
    for (const auto& [key, value] : row.items())
      if (value.is_number() && key != "iteration") found[key][iteration] = value.get<double>();
  }
  std::map<std::string, Curve> curves;
  for (const auto& [key, points] : found) curves[key] = Curve(points.begin(), points.end());
  return curves;
}

Results read_results(const Plan& plan) {
  Results results;
  for (const Arm& arm : plan.experiment.arms)
    results.arms.push_back({.name = arm.name,
                            .against = arm.against,
                            .evaluate_only = arm.evaluate_only,
                            .rhythm = {},
                            .cells = {},
                            .missing = {}});
  for (const Cell& cell : plan.cells) {
    ArmResults& arm = results.arms[cell.arm];
    arm.rhythm = cell.config.rhythm;
    if (state_of(plan, cell).progress != Progress::kFinished) {
      arm.missing.push_back(cell.seed);
      continue;
    }
    arm.cells[cell.seed] = read_cell(plan, cell);
    for (const std::string& program : read_origin(origin_path(plan, cell)).programs)
      ++results.programs[program];
  }
  for (size_t a = 0; a < results.arms.size(); ++a)
    results.arms[a].one_evaluation = is_one_evaluation(plan, a);
  return results;
}

}  // namespace pan::experiment
