#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "checkpoint/reader.h"
#include "checkpoint/retention.h"
#include "checkpoint/state.h"
#include "checkpoint/writer.h"
#include "core/error.h"
#include "core/file.h"
#include "support/support.h"

namespace pan::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::read_text;
using testing::TempFolder;
using testing::write_text;
namespace fs = std::filesystem;

const CheckpointConfig kKeepAll{.keep_last = 100, .keep_best = 0};

std::string save(const std::string& root, int64_t step, const std::map<std::string, double>& metrics = {},
                 const CheckpointConfig& keep = kKeepAll) {
  CheckpointWriter w(root, step);
  write_text(w.make_folder("policy") + "/model.bin", "weights of " + std::to_string(step));
  write_text(w.folder() + "/optimizer.bin", std::string(1000, static_cast<char>('a' + step)));
  w.add_section("counters", 2, core::Json{{"step", step}, {"third", 1.0 / 3}});
  w.set_metrics(metrics);
  return w.publish(keep);
}

core::Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const core::Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error was thrown";
  return core::Error(core::ErrorKind::kInternal, "none");
}

TEST(Checkpoint, WhatIsSavedIsWhatIsLoaded) {
  const TempFolder folder;
  const std::string root = folder / "run/checkpoints";
  EXPECT_EQ(save(root, 12, {{"eval/accuracy", 0.1 + 0.2}, {"bad", std::nan("")}}), root + "/step_000012");
  const Checkpoint c = open_latest(root, Verify::kChecksums);
  EXPECT_EQ(c.step(), 12);
  EXPECT_EQ(c.section("counters", 2)["third"].get<double>(), 1.0 / 3);
  EXPECT_EQ(c.section_version("counters"), 2);
  EXPECT_EQ(read_text(c.file("policy/model.bin")), "weights of 12");
  EXPECT_EQ(c.file("policy"), root + "/step_000012/policy");
  EXPECT_EQ(c.metrics().at("eval/accuracy"), 0.1 + 0.2);
  EXPECT_FALSE(c.metrics().contains("bad"));
  EXPECT_EQ(c.files().size(), 3u);
  EXPECT_EQ(c.size_bytes(), 13u + 1000u + fs::file_size(root + "/step_000012/state.json"));
  EXPECT_EQ(fs::read_symlink(root + "/latest"), "step_000012");
  EXPECT_EQ(Checkpoint(root + "/latest").folder(), root + "/step_000012");
  EXPECT_THAT(core::list_folder(root), ElementsAre("best", "latest", "step_000012"));
}

TEST(Checkpoint, MissingPartsAreNamed) {
  const TempFolder folder;
  save(folder.path(), 3);
  const Checkpoint c = open_latest(folder.path());
  EXPECT_TRUE(c.has_section("counters"));
  EXPECT_FALSE(c.has_section("kl"));
  EXPECT_TRUE(c.has_folder("policy"));
  EXPECT_FALSE(c.has_folder("poli"));
  EXPECT_THAT(error_of([&] { c.section("kl", 1); }).what(), HasSubstr("kl"));
  const core::Error newer = error_of([&] { c.section("counters", 1); });
  EXPECT_EQ(newer.kind(), core::ErrorKind::kData);
  EXPECT_EQ(newer.got_text(), "2");
  EXPECT_THAT(error_of([&] { c.file("critic"); }).what(), HasSubstr("critic"));
}

TEST(Checkpoint, SectionsThatWouldNotComeBackAreRefused) {
  const TempFolder folder;
  CheckpointWriter w(folder.path(), 1);
  w.add_section("a", 1, core::Json{{"x", 1}});
  EXPECT_THROW(w.add_section("a", 1, core::Json{}), core::Error);
  EXPECT_THROW(w.add_section("b", 0, core::Json{}), core::Error);
  EXPECT_THROW(w.add_section("c", 1, core::Json{{"deep", {1.0, std::numeric_limits<double>::infinity()}}}),
               core::Error);
  EXPECT_THROW(w.add_section("d", 1, core::Json{{"text", "\xff"}}), core::Error);
}

class Counter : public Stateful {
 public:
  explicit Counter(int64_t version) : version_(version) {}
  std::string section_name() const override { return "counter"; }
  int64_t section_version() const override { return version_; }
  core::Json save_state() const override { return {{"n", n}}; }
  void load_state(const core::Json& state, int64_t version) override {
    n = core::get_required<int64_t>(state, "/n", "counter");
    loaded_version = version;
  }
  int64_t n = 0, loaded_version = 0;

 private:
  int64_t version_;
};

TEST(Checkpoint, StatefulPartsLoadOlderVersionsButNotNewer) {
  const TempFolder folder;
  Counter old(2), same(2), newer(3), older(1);
  old.n = 7;
  CheckpointWriter w(folder.path(), 1);
  save_all(w, {&old});
  w.publish(kKeepAll);
  const Checkpoint c = open_latest(folder.path());
  load_all(c, {&same});
  load_all(c, {&newer});
  EXPECT_EQ(same.n, 7);
  EXPECT_EQ(newer.n, 7);
  EXPECT_EQ(newer.loaded_version, 2);
  EXPECT_THROW(load_all(c, {&older}), core::Error);
}

TEST(Checkpoint, NewestCompleteOneIsFound) {
  const TempFolder folder;
  EXPECT_FALSE(find_latest(folder / "nothing").has_value());
  EXPECT_THAT(error_of([&] { open_latest(folder.path()); }).what(), HasSubstr("got none"));
  for (int64_t step : {9, 10, 100, 1000000}) save(folder.path(), step);
  EXPECT_EQ(open_latest(folder.path()).step(), 1000000);
  fs::remove(folder / "step_1000000/manifest.json");
  fs::create_directories(folder / "step_000200/policy");
  fs::create_directories(folder / ".tmp-step_000300");
  fs::create_directories(folder / "step_12");
  fs::create_directories(folder / "step_abc");
  EXPECT_EQ(open_latest(folder.path()).step(), 100);
  const auto found = list_checkpoints(folder.path());
  ASSERT_EQ(found.size(), 5u);
  EXPECT_TRUE(found[2].complete());
  EXPECT_FALSE(found[3].complete());
  EXPECT_EQ(found[4].step, 1000000);
}

TEST(Checkpoint, MissingStepFailsLoudly) {
  const TempFolder folder;
  save(folder.path(), 5);
  save(folder.path(), 6);
  fs::remove(folder / "step_000006/optimizer.bin");
  EXPECT_EQ(open_step(folder.path(), 5).step(), 5);
  for (int64_t step : {4, 6}) {
    const core::Error e = error_of([&] { open_step(folder.path(), step); });
    EXPECT_EQ(e.kind(), core::ErrorKind::kData);
    EXPECT_THAT(e.got_text(), HasSubstr("5, 6 (incomplete"));
  }
}

TEST(Checkpoint, AnyPathAPersonWouldGive) {
  const TempFolder folder;
  save(folder / "run/checkpoints", 5);
  for (const char* path :
       {"run", "run/checkpoints", "run/checkpoints/latest", "run/checkpoints/step_000005"}) {
    EXPECT_TRUE(is_checkpoint_path(folder / path)) << path;
    EXPECT_EQ(open_any(folder / path).step(), 5) << path;
  }
  EXPECT_FALSE(is_checkpoint_path(folder.path()));
  EXPECT_FALSE(is_checkpoint_path(folder / "run/checkpoints/latest/policy"));
  EXPECT_EQ(error_of([&] { open_any(folder.path()); }).kind(), core::ErrorKind::kData);
}

TEST(Checkpoint, EveryTruncationAndBitFlipIsDetectedAndNamed) {
  const TempFolder folder;
  const std::string made = save(folder.path(), 4);
  for (const std::string name : {"policy/model.bin", "optimizer.bin", "state.json", "manifest.json"}) {
    const std::string path = made + "/" + name;
    const std::string good = read_text(path);
    for (size_t size : {size_t{0}, good.size() / 2, good.size() - 1}) {
      if (name == "manifest.json" && size == good.size() - 1) continue;  // only the last newline
      write_text(path, good.substr(0, size));
      EXPECT_THAT(error_of([&] { Checkpoint c(made); }).what(), HasSubstr(name)) << size;
    }
    write_text(path, good + "x");
    EXPECT_THAT(error_of([&] { Checkpoint c(made); }).what(), HasSubstr(name));
    for (size_t at = 0; at + 1 < good.size(); at += 3) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 7)));
      write_text(path, bad);
      // White space between the manifest's entries says nothing; all else must be noticed.
      if (name == "manifest.json" && core::dump_json(core::Json::parse(bad, nullptr, false)) ==
                                         core::dump_json(core::Json::parse(good))) {
        continue;
      }
      const core::Error e = error_of([&] { Checkpoint c(made, Verify::kChecksums); });
      EXPECT_EQ(e.kind(), core::ErrorKind::kData);
      EXPECT_THAT(e.what(), HasSubstr("step_000004")) << name << " " << at;
      if (name != "manifest.json") {
        EXPECT_THAT(e.what(), HasSubstr(name));
        EXPECT_THAT(e.what(), HasSubstr("expected crc32c "));
        EXPECT_THAT(e.what(), HasSubstr(", got "));
      }
    }
    write_text(path, good);
    EXPECT_NO_THROW(Checkpoint(made, Verify::kChecksums));
  }
}

TEST(Checkpoint, DamagedNewestFallsBackWhenChecksumsAreAsked) {
  const TempFolder folder;
  save(folder.path(), 1);
  const std::string newest = save(folder.path(), 2);
  std::string bytes = read_text(newest + "/optimizer.bin");
  bytes[500] = static_cast<char>(bytes[500] ^ 1);
  write_text(newest + "/optimizer.bin", bytes);
  EXPECT_EQ(open_latest(folder.path(), Verify::kSizes).step(), 2);
  EXPECT_EQ(open_latest(folder.path(), Verify::kChecksums).step(), 1);
}

TEST(Checkpoint, ManifestOfAnotherFormatIsRefused) {
  const TempFolder folder;
  const std::string made = save(folder.path(), 4);
  write_text(made + "/manifest.json", "{\"format\": \"pan-ppo checkpoint\", \"version\": 2}");
  EXPECT_THAT(error_of([&] { Checkpoint c(made); }).what(), HasSubstr("expected version 1, got 2"));
  write_text(made + "/manifest.json", "{\"a\": 1}");
  EXPECT_THAT(error_of([&] { Checkpoint c(made); }).what(), HasSubstr("not the manifest"));
  Manifest outside{4, {}, {{"../../etc/passwd", 1, "00000000"}}};
  write_text(made + "/manifest.json", to_text(outside));
  EXPECT_THAT(error_of([&] { Checkpoint c(made); }).what(), HasSubstr("impossible file"));
}

TEST(Writer, FileThatLostBytesIsNotPublished) {
  const TempFolder folder;
  save(folder.path(), 1);
  {
    CheckpointWriter w(folder.path(), 2);
    write_text(w.folder() + "/optimizer.bin", "short");
    w.expect_checksum("optimizer.bin", "12345678");
    const core::Error e = error_of([&] { w.publish(kKeepAll); });
    EXPECT_EQ(e.kind(), core::ErrorKind::kIo);
    EXPECT_THAT(e.what(), HasSubstr("optimizer.bin"));
  }
  {
    CheckpointWriter w(folder.path(), 2);
    w.expect_checksum("never_written.bin", "12345678");
    EXPECT_THAT(error_of([&] { w.publish(kKeepAll); }).what(), HasSubstr("never_written.bin"));
  }
  EXPECT_EQ(open_latest(folder.path()).step(), 1);
  EXPECT_THAT(core::list_folder(folder.path()), ElementsAre("latest", "step_000001"));
}

TEST(Writer, SameStepIsReplaced) {
  const TempFolder folder;
  save(folder.path(), 1, {{"m", 1.0}});
  save(folder.path(), 1, {{"m", 2.0}});
  EXPECT_EQ(open_latest(folder.path(), Verify::kChecksums).metrics().at("m"), 2.0);
  EXPECT_THAT(core::list_folder(folder.path()), ElementsAre("latest", "step_000001"));
}

TEST(Writer, AbandonedOneLeavesNothing) {
  const TempFolder folder;
  { CheckpointWriter w(folder.path(), 1); }
  EXPECT_TRUE(core::list_folder(folder.path()).empty());
}

std::vector<Found> rated(const std::vector<std::pair<int64_t, double>>& list) {
  std::vector<Found> found;
  for (const auto& [step, value] : list) {
    Found f{step, "", "", {}};
    if (!std::isnan(value)) f.metrics["m"] = value;
    found.push_back(f);
  }
  return found;
}

TEST(Retention, KeepsLastAndBest) {
  const double none = std::nan("");
  const auto found = rated({{1, 0.5}, {2, 0.9}, {3, none}, {4, 0.9}, {5, 0.1}, {6, none}});
  const auto keep = [&](int64_t last, int64_t best, Better better) {
    return steps_to_keep(found, {.keep_last = last, .keep_best = best, .metric = "m", .better = better});
  };
  EXPECT_THAT(keep(1, 0, Better::kHigher), ElementsAre(6));
  EXPECT_THAT(keep(2, 1, Better::kHigher), ElementsAre(4, 5, 6));  // of equals the newer
  EXPECT_THAT(keep(1, 2, Better::kHigher), ElementsAre(2, 4, 6));
  EXPECT_THAT(keep(1, 2, Better::kLower), ElementsAre(1, 5, 6));
  EXPECT_THAT(keep(1, 9, Better::kLower), ElementsAre(1, 2, 4, 5, 6));
  EXPECT_EQ(best_step(found, {.metric = "m", .better = Better::kLower}), 5);
  EXPECT_EQ(best_step(found, {.metric = "other"}), -1);
}

TEST(Retention, IncompleteOnesNeitherCountNorStayInTheWay) {
  auto found = rated({{1, 0.5}, {2, 0.6}, {3, 0.9}});
  found[2].problem = "no manifest";
  EXPECT_THAT(steps_to_keep(found, {.keep_last = 1, .keep_best = 1, .metric = "m"}), ElementsAre(2));
  EXPECT_TRUE(steps_to_keep({}, {}).empty());
}

TEST(Retention, LinksFollowWhatStays) {
  const TempFolder folder;
  const CheckpointConfig keep{.keep_last = 1, .keep_best = 1, .metric = "m"};
  for (const auto& [step, value] : std::map<int64_t, double>{{1, 0.2}, {2, 0.8}, {3, 0.3}, {4, 0.4}}) {
    save(folder.path(), step, {{"m", value}}, keep);
  }
  EXPECT_THAT(core::list_folder(folder.path()), ElementsAre("best", "latest", "step_000002", "step_000004"));
  EXPECT_EQ(Checkpoint(folder / "best").step(), 2);
  EXPECT_EQ(Checkpoint(folder / "latest").step(), 4);
}

TEST(Retention, GoingBackDiscardsTheLaterOnes) {
  const TempFolder folder;
  for (int64_t step : {1, 2, 3, 4}) save(folder.path(), step);
  EXPECT_THROW(discard_after(core::disk(), folder.path(), 7), core::Error);
  EXPECT_EQ(list_checkpoints(folder.path()).size(), 4u);
  discard_after(core::disk(), folder.path(), 2);
  EXPECT_THAT(core::list_folder(folder.path()), ElementsAre("latest", "step_000001", "step_000002"));
  EXPECT_EQ(Checkpoint(folder / "latest").step(), 2);
}

}  // namespace
}  // namespace pan::checkpoint
