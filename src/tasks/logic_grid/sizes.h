// Which size a problem has: weighted lists of sizes, and a schedule of such lists over the problem index.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "tasks/logic_grid/puzzle.h"

namespace pan::tasks::logic_grid {

struct SizeWeight {
  Shape shape;
  double weight = 1;
};
struct SizeStage {
  int64_t from = 0;  // first problem index
  std::vector<SizeWeight> sizes;
};

// "3x3", "4x3:0.5". Errors: kConfig with the pointer /task/<key>.
std::vector<SizeWeight> parse_sizes(const std::vector<std::string>& texts, const std::string& key);
// "0: 2x2", "1000: 2x3 3x2:2". The first stage starts at 0, later ones further on.
std::vector<SizeStage> parse_curriculum(const std::vector<std::string>& texts);

Shape draw_size(const std::vector<SizeWeight>& sizes, core::rng::Stream& stream);
const std::vector<SizeWeight>& sizes_at(const std::vector<SizeStage>& stages, int64_t index);

}  // namespace pan::tasks::logic_grid
