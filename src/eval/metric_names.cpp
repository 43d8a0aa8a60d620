#include "eval/metric_names.h"

namespace pan::eval {

std::vector<std::string> metric_names(const tasks::Task& task, const EvalConfig& config) {
  std::vector<std::string> names = {"accuracy", "no_answer_rate", "truncated_rate", "response_length/mean"};
  if (config.samples > 1)
    for (const char* kind : {"avg@", "maj@", "pass@"}) names.push_back(kind + std::to_string(config.samples));
  // Every answer has the same terms, a bad one too.
  const tasks::Problem problem = task.problem(tasks::Split::kEval, 0);
  if (problem.num_cells > 0) names.emplace_back("cell_accuracy");
  const tasks::Verdict verdict = task.judge(problem, "");
  for (const auto& [term, value] : verdict.terms) names.push_back("score/" + term);
  return names;
}

}  // namespace pan::eval
