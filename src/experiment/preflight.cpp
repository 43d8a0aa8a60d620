#include "experiment/preflight.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/nearest.h"
#include "eval/metric_names.h"
#include "metrics/catalog.h"
#include "tasks/registry.h"
#include "train/dry_run.h"

namespace pan::experiment {
namespace {

constexpr const char* kScores = "eval/score/";
constexpr const char* kGroups = "eval/accuracy/";

// Arms that differ in nothing of this are opened once.
std::string opened_by(const Plan& plan, const Cell& cell) {
  core::Json tree = config::resolved(cell.config);
  for (const char* key : {"seed", "optimizer", "critic_optimizer", "ppo", "kl", "advantage"}) tree.erase(key);
  tree["rhythm"] = {{"layers", tree["rhythm"]["layers"]}, {"enabled", tree["rhythm"]["enabled"]}};
  tree["evaluate_only"] = plan.arm_of(cell).evaluate_only;
  return core::dump_json(tree);
}

[[noreturn]] void no_such_figure(const Plan& plan, const std::string& pointer, const std::string& key,
                                 const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  const std::string near = core::nearest(key, names);
  throw core::Error(core::ErrorKind::kConfig, "the runs have no such figure")
      .where(plan.experiment.source)
      .pointer(pointer)
      .expected("one of " + all)
      .got(key)
      .remedy(near.empty() ? "docs/metrics.md lists every figure" : "Did you mean " + near + "?");
}

// The figures of evaluations and the terms of rewards have the task's own names, which no list can know.
class Figures {
 public:
  explicit Figures(const Cell& cell) : task_(tasks::make(cell.config.task, cell.config.reward)) {
    for (const std::string& name : eval::metric_names(*task_, cell.config.eval))
      names_.push_back("eval/" + name);
    open_ = !tasks::command_of(cell.config.reward).empty();  // a program has terms of its own
    num_problems_ = cell.config.eval.num_problems;
  }

  const std::vector<std::string>& names() const { return names_; }

  // Valid names instead of `key`: "reward/cell/mean" for "reward/cel/mean".
  std::vector<std::string> names_like(const std::string& key) const {
    if (key.rfind("reward/", 0) != 0) return names_;
    std::vector<std::string> names;
    for (const std::string& name : names_)
      if (name.rfind(kScores, 0) == 0)
        names.push_back("reward/" + name.substr(std::string(kScores).size()) + key.substr(key.rfind('/')));
    return names;
  }

  bool has(const std::string& key) const {
    if (std::find(names_.begin(), names_.end(), key) != names_.end()) return true;
    if (key.rfind(kScores, 0) == 0) return open_;
    return key.rfind(kGroups, 0) == 0 && has_group(key.substr(std::string(kGroups).size()));
  }

  // "reward/cell/right": a term of the task, or a figure that every task has.
  bool has_term(const std::string& key) const {
    const metrics::KeyInfo* info = metrics::find_key(key);
    if (info == nullptr || info->key.rfind("reward/{term}/", 0) != 0 || open_) return true;
    const std::string rest = key.substr(std::string("reward/").size());
    return has(kScores + rest.substr(0, rest.find('/')));
  }

 private:
  bool has_group(const std::string& group) const {
    int64_t n = task_->size(tasks::Split::kEval);
    if (num_problems_ > 0) n = std::min(n, num_problems_);
    for (int64_t i = 0; i < n; ++i) {
      const std::string own = task_->problem(tasks::Split::kEval, i).group;
      if (own == group || own.rfind(group + "/", 0) == 0) return true;
    }
    return false;
  }

  std::shared_ptr<const tasks::Task> task_;
  std::vector<std::string> names_;
  bool open_ = false;
  int64_t num_problems_ = 0;
};

void check_figures(const Plan& plan, const Cell& cell) {
  const ExperimentConfig& c = plan.experiment.config;
  const Figures figures(cell);
  if (!figures.has(c.metric)) no_such_figure(plan, "/metric", c.metric, figures.names());
  if (plan.arm_of(cell).evaluate_only) return;
  for (size_t i = 0; i < c.curves.size(); ++i)
    if (c.curves[i].rfind("eval/", 0) == 0 ? !figures.has(c.curves[i]) : !figures.has_term(c.curves[i]))
      no_such_figure(plan, "/curves/" + std::to_string(i), c.curves[i], figures.names_like(c.curves[i]));
}

}  // namespace

void preflight(const Plan& plan) {
  core::check_can_write(plan.experiment.config.output, "Choose another --output");
  std::set<std::string> opened;
  for (const Cell& cell : plan.cells) {
    if (!opened.insert(opened_by(plan, cell)).second) continue;
    try {
      if (!plan.arm_of(cell).evaluate_only) train::dry_run(cell.config, cell.folder, false);
      check_figures(plan, cell);
    } catch (core::Error& error) {
      throw error.where(error.where_text() + ", arm " + plan.arm_of(cell).name);
    }
  }
}

}  // namespace pan::experiment
