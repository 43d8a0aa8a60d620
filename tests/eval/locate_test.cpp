#include "eval/locate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/error.h"
#include "support/support.h"

namespace pan::eval {
namespace {

namespace fs = std::filesystem;

void make_model(const std::string& folder) {
  fs::create_directories(folder);
  pan::testing::write_text(folder + "/config.json", "{}");
  pan::testing::write_text(folder + "/model.safetensors", "x");
}

class Locate : public ::testing::Test {
 protected:
  Locate() {
    for (const char* step : {"step_000002", "step_000004"}) {
      make_model(run_ + "/checkpoints/" + step + "/policy");
      pan::testing::write_text(run_ + "/checkpoints/" + step + "/manifest.json", "{}");
    }
    pan::testing::write_text(run_ + "/config.json", "{}");
    fs::create_directory_symlink("step_000004", run_ + "/checkpoints/latest");
    fs::create_directory_symlink("step_000002", run_ + "/checkpoints/best");
  }
  void expect_step(const std::string& path, const std::string& step) {
    const ModelLocation m = locate_model(path);
    const std::string checkpoint = run_ + "/checkpoints/" + step;
    EXPECT_EQ(m.policy_folder, checkpoint + "/policy") << path;
    EXPECT_EQ(m.tokenizer_folder, checkpoint + "/policy") << path;
    EXPECT_EQ(m.checkpoint, checkpoint) << path;
    EXPECT_EQ(m.description, checkpoint) << path;
    EXPECT_EQ(m.run_config, run_ + "/config.json") << path;
  }

  pan::testing::TempFolder folder_;
  std::string run_ = folder_ / "run";
};

TEST_F(Locate, NamesTheStepThatALinkMeans) {
  expect_step(run_, "step_000004");
  expect_step(run_ + "/", "step_000004");
  expect_step(run_ + "/checkpoints/latest", "step_000004");
  expect_step(run_ + "/checkpoints/best", "step_000002");
  expect_step(run_ + "/checkpoints/best/policy", "step_000002");
  expect_step(run_ + "/checkpoints/step_000002", "step_000002");
}

TEST_F(Locate, AModelFolderHasNoRunAndNoCheckpoint) {
  make_model(folder_ / "model");
  const ModelLocation m = locate_model(folder_ / "model");
  EXPECT_EQ(m.policy_folder, folder_ / "model");
  EXPECT_EQ(m.tokenizer_folder, folder_ / "model");
  EXPECT_TRUE(m.run_config.empty() && m.checkpoint.empty());
}

TEST_F(Locate, SaysWhatWasLookedFor) {
  const auto message = [](const std::string& path) -> std::string {
    try {
      locate_model(path);
    } catch (const core::Error& error) {
      EXPECT_EQ(error.kind(), core::ErrorKind::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(folder_ / "nowhere"), ::testing::HasSubstr("got nothing of that name"));
  EXPECT_THAT(message(run_ + "/config.json"), ::testing::HasSubstr("got a file"));
  fs::create_directories(folder_ / "empty/checkpoints");
  EXPECT_THAT(message(folder_ / "empty"),
              ::testing::AllOf(::testing::HasSubstr("no model was found"), ::testing::HasSubstr("resume")));
}

}  // namespace
}  // namespace pan::eval
