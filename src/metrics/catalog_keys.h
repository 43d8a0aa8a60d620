// The table behind catalog.h.
#pragma once

#include <vector>

#include "metrics/catalog.h"

namespace pan::metrics::internal {

std::vector<KeyInfo> make_catalog();

}  // namespace pan::metrics::internal
