// What a person may have meant by a name that does not exist.
#pragma once

#include <string>
#include <vector>

namespace pan::core {

// The nearest of `names` by insertions, deletions, substitutions and swaps of neighbours, or "" where even
// that one is too far off to be what was meant.
std::string nearest(const std::string& name, const std::vector<std::string>& names);

}  // namespace pan::core
