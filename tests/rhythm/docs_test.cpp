// docs/rhythm.md lists every setting with its default and every metric.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/schema.h"
#include "rhythm/reward.h"
#include "support/support.h"

namespace pan::rhythm {
namespace {

TEST(RhythmPage, ListsEverySettingWithItsDefault) {
  const std::string page = pan::testing::read_text(pan::testing::source_path("docs/rhythm.md"));
  RhythmConfig config;
  int64_t listed = 0;
  for (const core::FieldDoc& field : core::explain_fields([&](core::Fields& f) { describe(f, config); })) {
    if (field.type == "object") continue;
    std::string key = field.pointer.substr(1);
    std::replace(key.begin(), key.end(), '/', '.');
    const std::string row = "| `" + key + "` | `" + field.value + "` | " + field.doc + " |\n";
    EXPECT_NE(page.find(row), std::string::npos) << row;
    ++listed;
  }
  EXPECT_GT(listed, 30);
}

TEST(RhythmPage, NamesEveryMetric) {
  const std::string page = pan::testing::read_text(pan::testing::source_path("docs/rhythm.md"));
  for (const auto& [name, value] : metrics_of(RewardSums{}))
    EXPECT_NE(page.find("`" + name + "`"), std::string::npos) << name;
}

}  // namespace
}  // namespace pan::rhythm
