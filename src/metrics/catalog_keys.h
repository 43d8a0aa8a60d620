// The table behind catalog.h.
#pragma once

#include <vector>

#include "metrics/catalog.h"

namespace pan::metrics::internal {

std::vector<KeyInfo> make_catalog();
std::vector<TrlName> make_trl_names();

}  // namespace pan::metrics::internal
