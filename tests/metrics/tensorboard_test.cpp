#include "metrics/tensorboard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "metrics/jsonl.h"
#include "support/fault_disk.h"
#include "support/support.h"

namespace pan::metrics {
namespace {

using testing::fixture;
using testing::read_text;
using testing::TempFolder;
using testing::write_text;

// The bytes of the official package for the same events (tests/fixtures/metrics/make_events.py).
TEST(EventWriter, WritesTheBytesOfTheOfficialPackage) {
  const TempFolder folder;
  EventWriter board(core::disk(), folder.path(), 1700000000.25);
  const auto write = [&](int64_t step, const std::map<std::string, double>& values) {
    board.write(step, values, 1700000000.5 + static_cast<double>(step));
  };
  write(0, {{"a", 0.0}});
  write(1, {{"actor/lr", 1e-6}, {"critic/score/mean", -0.5}});
  write(300, {{"long/" + std::string(200, 'k'), 1.5}, {"z", 3.4e38}});
  write(5000000000, {{"infinite", std::numeric_limits<double>::infinity()}});
  EXPECT_EQ(read_text(board.path()), read_text(fixture("metrics/events.bin")));
  EXPECT_EQ(board.size_bytes(), read_text(board.path()).size());
}

TEST(EventWriter, ResumedFileEqualsTheUninterruptedOne) {
  const TempFolder one, two;
  EventWriter whole(core::disk(), one.path(), 1.0);
  for (int step = 1; step <= 4; ++step) whole.write(step, {{"x", step * 0.5}}, 10.0 + step);
  uint64_t at_checkpoint = 0;
  {
    EventWriter first(core::disk(), two.path(), 1.0);
    for (int step = 1; step <= 3; ++step) {
      first.write(step, {{"x", step * 0.5}}, 10.0 + step);
      if (step == 2) at_checkpoint = first.size_bytes();
    }
  }
  cut_file(core::disk(), EventWriter::path_in(two.path()), at_checkpoint);
  EventWriter second(core::disk(), two.path(), 99.0);
  EXPECT_EQ(second.size_bytes(), at_checkpoint);
  for (int step = 3; step <= 4; ++step) second.write(step, {{"x", step * 0.5}}, 10.0 + step);
  EXPECT_EQ(read_text(second.path()), read_text(whole.path()));
}

TEST(EventWriter, UnfinishedEventIsCutOff) {
  const TempFolder folder;
  std::string good;
  {
    EventWriter board(core::disk(), folder.path(), 1.0);
    board.write(1, {{"x", 1}}, 2.0);
    good = read_text(board.path());
    board.write(2, {{"x", 2}}, 3.0);
  }
  const std::string all = read_text(EventWriter::path_in(folder.path()));
  for (size_t size = good.size(); size < all.size(); ++size) {
    write_text(EventWriter::path_in(folder.path()), all.substr(0, size));
    EventWriter board(core::disk(), folder.path(), 1.0);
    ASSERT_EQ(board.size_bytes(), good.size()) << size;
    board.write(2, {{"x", 2}}, 3.0);
    ASSERT_EQ(read_text(board.path()), all) << size;
  }
}

TEST(EventWriter, FailedWriteLeavesWholeRecords) {
  const TempFolder folder;
  testing::FaultDisk disk;
  EventWriter board(disk, folder.path(), 1.0);
  const std::string before = read_text(board.path());
  disk.fail_at(disk.operations(), testing::Fault::kShortWrite);
  EXPECT_THROW(board.write(1, {{"x", 1}}, 2.0), core::Error);
  EXPECT_EQ(read_text(board.path()), before);
}

}  // namespace
}  // namespace pan::metrics
