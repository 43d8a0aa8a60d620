#include "metrics/jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/fault_disk.h"
#include "support/support.h"

namespace pan::metrics {
namespace {

using testing::Fault;
using testing::FaultDisk;
using testing::read_text;
using testing::TempFolder;
using testing::write_text;

TEST(Jsonl, LinesAreThereAsSoonAsTheyAreWritten) {
  const TempFolder folder;
  JsonlWriter log(core::disk(), folder / "m.jsonl");
  log.write({{"step", 1}, {"x", 0.1}, {"nan", std::nan("")}});
  EXPECT_EQ(read_text(folder / "m.jsonl"), "{\"step\":1,\"x\":0.1,\"nan\":null}\n");
  log.write({{"text", "two\nlines"}});
  EXPECT_EQ(read_text(folder / "m.jsonl"),
            "{\"step\":1,\"x\":0.1,\"nan\":null}\n{\"text\":\"two\\nlines\"}\n");
  EXPECT_EQ(log.size_bytes(), core::file_size(folder / "m.jsonl"));
  log.sync();
}

TEST(Jsonl, ReopenedFileGoesOnAndAnUnfinishedLineGoes) {
  const TempFolder folder;
  const std::string path = folder / "m.jsonl";
  write_text(path, "{\"a\":1}\n{\"b\":");
  JsonlWriter log(core::disk(), path);
  EXPECT_EQ(log.size_bytes(), 8u);
  log.write({{"c", 3}});
  EXPECT_EQ(read_text(path), "{\"a\":1}\n{\"c\":3}\n");
}

TEST(Jsonl, ResumeRepeatsNoLine) {
  const TempFolder folder;
  const std::string path = folder / "m.jsonl";
  uint64_t at_checkpoint = 0;
  {
    JsonlWriter log(core::disk(), path);
    for (int i = 0; i < 5; ++i) {
      log.write({{"step", i}});
      if (i == 2) at_checkpoint = log.size_bytes();
    }
  }
  const std::string whole = read_text(path);
  cut_file(core::disk(), path, at_checkpoint);
  JsonlWriter log(core::disk(), path);
  for (int i = 3; i < 5; ++i) log.write({{"step", i}});
  EXPECT_EQ(read_text(path), whole);
}

TEST(Jsonl, ShorterThanTheCheckpointSaysIsAnError) {
  const TempFolder folder;
  EXPECT_NO_THROW(cut_file(core::disk(), folder / "none", 0));
  EXPECT_THROW(cut_file(core::disk(), folder / "none", 1), core::Error);
  write_text(folder / "short", "12345");
  try {
    cut_file(core::disk(), folder / "short", 6);
    FAIL();
  } catch (const core::Error& e) {
    EXPECT_EQ(e.kind(), core::ErrorKind::kData);
    EXPECT_EQ(e.got_text(), "5");
  }
  EXPECT_EQ(read_text(folder / "short"), "12345");
}

TEST(Jsonl, FailedWriteLeavesWholeLines) {
  for (Fault fault : {Fault::kError, Fault::kShortWrite}) {
    const TempFolder folder;
    const std::string path = folder / "m.jsonl";
    FaultDisk disk;
    JsonlWriter log(disk, path);
    log.write({{"step", 1}});
    disk.fail_at(disk.operations(), fault);
    EXPECT_THROW(log.write({{"step", 2}}), core::Error);
    EXPECT_EQ(log.size_bytes(), core::file_size(path));
    log.write({{"step", 3}});
    EXPECT_EQ(read_text(path), "{\"step\":1}\n{\"step\":3}\n");
  }
}

}  // namespace
}  // namespace pan::metrics
