// An evaluation's figures under the names of verl.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace pan::train {

// val-core/{task}/acc/mean@k, with k > 1 best@k/mean and maj@k/mean; val-aux/{task}/{term}/mean@k. Of a mix
// mean@k by task as well. `figures`: those of eval::Evaluation::metrics.
std::map<std::string, double> verl_names(const std::string& task, int64_t samples,
                                         const std::map<std::string, double>& figures);

}  // namespace pan::train
