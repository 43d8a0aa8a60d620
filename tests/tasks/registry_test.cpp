#include "tasks/registry.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tasks/names_config.h"

namespace pan::tasks {
namespace {

TEST(Registry, HasAFactoryOfEveryTask) {
  EXPECT_EQ(names(), task_names());
  for (const std::string& name : names()) {
    TaskConfig config;
    config.name = name;
    try {
      EXPECT_EQ(make(config)->name(), name);
    } catch (const core::Error& error) {  // a task may need data or settings
      EXPECT_EQ(error.happened().find("no task of this name"), std::string::npos) << name;
    }
  }
  TaskConfig unknown;
  unknown.name = "chess";
  EXPECT_THROW(make(unknown), core::Error);
}

}  // namespace
}  // namespace pan::tasks
