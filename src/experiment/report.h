// The report of an experiment: report.json, report.md and the pictures curve_*.svg.
//
//   write_report(plan, results, analyse(results, plan.experiment.config));
#pragma once

#include <string>

#include "core/json.h"
#include "experiment/analysis.h"
#include "experiment/chart.h"
#include "experiment/plan.h"

namespace pan::experiment {

core::Json report_json(const Plan& plan, const Results& results, const Analysis& analysis);
// `pictures`: file name and title of each.
std::string report_markdown(const Plan& plan, const Results& results, const Analysis& analysis,
                            const std::vector<std::pair<std::string, std::string>>& pictures);
// Mean over the finished seeds of each trained arm by iteration, t interval, single seeds. Arms without the
// figure are left out.
Chart curve_chart(const Results& results, const std::string& metric, int64_t num_seeds);

// Writes all files into the output folder, each atomically. Errors: kIo.
void write_report(const Plan& plan, const Results& results, const Analysis& analysis);

}  // namespace pan::experiment
