// Breaks the disk at every operation of a save and demands a whole checkpoint afterwards.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/reader.h"
#include "checkpoint/writer.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/rng.h"
#include "support/fault_disk.h"
#include "support/support.h"

namespace pan::checkpoint {
namespace {

using testing::Crash;
using testing::Fault;
using testing::FaultDisk;
using testing::Loss;
using testing::TempFolder;

const CheckpointConfig kKeep{.keep_last = 1, .keep_best = 1, .metric = "m"};

std::string content(int64_t step, const std::string& mark) {
  return mark + " weights of " + std::to_string(step) + std::string(200, 'x');
}

void write_file(const std::string& path, const std::string& text, bool sync) {
  const auto file = core::disk().create(path);
  file->write(text.data(), text.size());
  if (sync) file->sync();
  file->close();
}

// As the trainer saves: several files, one of them written by code that does not sync.
void save(const std::string& root, int64_t step, const std::string& mark, double metric) {
  CheckpointWriter w(root, step);
  write_file(w.make_folder("policy") + "/model.bin", content(step, mark), true);
  write_file(w.folder() + "/unsynced.bin", content(step, mark), false);
  w.add_section("counters", 1, core::Json{{"mark", mark}});
  w.set_metrics({{"m", metric}});
  w.publish(kKeep);
}

// The newest complete checkpoint, with everything in it checked; its mark.
std::string check(const std::string& root, const std::set<int64_t>& allowed) {
  const Checkpoint c = open_latest(root, Verify::kChecksums);
  EXPECT_TRUE(allowed.contains(c.step())) << c.step();
  const std::string mark = c.section("counters", 1)["mark"].get<std::string>();
  EXPECT_EQ(testing::read_text(c.file("policy/model.bin")), content(c.step(), mark));
  EXPECT_EQ(testing::read_text(c.file("unsynced.bin")), content(c.step(), mark));
  return mark;
}

struct Case {
  Fault fault;
  Loss loss;
};
const std::vector<Case> kCases = {{Fault::kError, Loss::kNothing},
                                  {Fault::kShortWrite, Loss::kNothing},
                                  {Fault::kCrash, Loss::kNothing},
                                  {Fault::kCrash, Loss::kData},
                                  {Fault::kCrash, Loss::kAll}};

// Runs `action` on a disk that breaks at operation n = 0, 1, 2, ... until it gets through unharmed; `prepare`
// and `after` see a good disk. Returns how many operations there were to break.
template <class Prepare, class Action, class After>
int64_t break_every_operation(const Case& c, Prepare prepare, Action action, After after) {
  for (int64_t n = 0;; ++n) {
    const TempFolder folder;
    const std::string root = folder / "checkpoints";
    {
      const FaultDisk quick;  // without a fault: as good as the real one, but it waits for no device
      prepare(root);
    }
    bool reached = false, returned = false;
    {
      FaultDisk disk;
      disk.fail_at(n, c.fault);
      try {
        action(root);
        returned = true;
      } catch (const Crash&) {
        EXPECT_EQ(c.fault, Fault::kCrash);
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::kIo) << e.what();
      }
      reached = disk.operations() > n;
      if (c.fault == Fault::kCrash) disk.lose_unsynced(c.loss);  // also right after a save that went well
    }
    {
      const FaultDisk quick;
      after(root, returned);
    }
    if (::testing::Test::HasFailure()) {
      ADD_FAILURE() << "at operation " << n;
      return n;
    }
    if (!reached) return n;
  }
}

class Broken : public ::testing::Test {
 protected:
  void SetUp() override { core::set_log_level(core::LogLevel::kError); }
  void TearDown() override { core::set_log_level(core::LogLevel::kInfo); }
};

TEST_F(Broken, SaveNeverLosesThePreviousCheckpoint) {
  for (const Case& c : kCases) {
    const int64_t operations = break_every_operation(
        c, [](const std::string& root) { save(root, 1, "first", 0.1); },
        [](const std::string& root) { save(root, 2, "second", 0.2); },
        [](const std::string& root, bool returned) {
          check(root, returned ? std::set<int64_t>{2} : std::set<int64_t>{1, 2});
          save(root, 3, "third", 0.3);  // goes on as if nothing had been
          check(root, {3});
          for (const std::string& name : core::list_folder(root)) EXPECT_NE(name.front(), '.') << name;
          EXPECT_EQ(Checkpoint(root + "/latest").step(), 3);
          EXPECT_EQ(Checkpoint(root + "/best").step(), 3);
        });
    EXPECT_GT(operations, 25);
  }
}

TEST_F(Broken, FirstSaveIsAllOrNothing) {
  for (const Case& c : kCases) {
    break_every_operation(
        c, [](const std::string&) {}, [](const std::string& root) { save(root, 1, "first", 0.1); },
        [](const std::string& root, bool returned) {
          EXPECT_TRUE(!returned || find_latest(root).has_value());
          if (find_latest(root)) check(root, {1});
        });
  }
}

TEST_F(Broken, ReplacingAStepKeepsTheOldOrTheNew) {
  for (const Case& c : kCases) {
    break_every_operation(
        c, [](const std::string& root) { save(root, 5, "old", 0.1); },
        [](const std::string& root) { save(root, 5, "new", 0.1); },
        [](const std::string& root, bool returned) {
          const std::string mark = check(root, {5});
          EXPECT_TRUE(mark == "new" || (mark == "old" && !returned)) << mark;
          save(root, 6, "next", 0.0);
          EXPECT_EQ(check(root, {6}), "next");
          EXPECT_EQ(Checkpoint(root + "/best", Verify::kChecksums).step(), 5);
          for (const std::string& name : core::list_folder(root)) EXPECT_NE(name.front(), '.') << name;
        });
  }
}

TEST_F(Broken, RetentionNeverLeavesHalfACheckpoint) {
  for (const Case& c : kCases) {
    break_every_operation(
        c,
        [](const std::string& root) {
          save(root, 1, "best", 0.9);
          save(root, 2, "plain", 0.1);
        },
        [](const std::string& root) { save(root, 3, "new", 0.95); },  // removes both
        [](const std::string& root, bool) {
          check(root, {2, 3});
          for (const Found& f : list_checkpoints(root)) EXPECT_TRUE(f.complete()) << f.problem;
        });
  }
}

TEST_F(Broken, FullDiskAtAnyByte) {
  int64_t successes = 0;
  for (int64_t room = 0; room < 1500; room += 31) {
    const TempFolder folder;
    const std::string root = folder / "checkpoints";
    bool returned = false;
    {
      FaultDisk disk;
      save(root, 1, "first", 0.1);
      disk.limit_bytes(room);
      try {
        save(root, 2, "second", 0.2);
        returned = true;
      } catch (const core::Error& e) {
        EXPECT_EQ(e.kind(), core::ErrorKind::kIo) << e.what();
      }
    }
    check(root, returned ? std::set<int64_t>{2} : std::set<int64_t>{1});
    EXPECT_FALSE(core::exists(root + "/.tmp-step_000002"));
    successes += returned ? 1 : 0;
  }
  EXPECT_GT(successes, 0);  // the last sizes are enough: the loop saw both sides of the edge
  EXPECT_LT(successes, 40);
}

// The fault disk itself: a checkpoint that is renamed before its files are synced must be lost, or the tests
// above prove nothing.
TEST_F(Broken, FaultDiskCatchesARenameBeforeSync) {
  const TempFolder folder;
  FaultDisk disk;
  disk.make_folders(folder / "a");
  auto file = disk.create(folder / "a/x");
  file->write("12345", 5);
  file->close();
  disk.rename(folder / "a", folder / "b");
  disk.sync_folder(folder.path());
  disk.lose_unsynced(Loss::kData);
  EXPECT_EQ(core::file_size(folder / "b/x"), 0u);
}

TEST_F(Broken, KillAtAnyMoment) {
  core::rng::Stream random({17, core::rng::Purpose::kTest, 0, 0});
  const TempFolder folder;
  const std::string root = folder / "checkpoints";
  const FaultDisk quick;
  save(root, 0, "kill", 0.0);
  int64_t newest = 0;
  for (int round = 0; round < 25 || (newest < 5 && round < 1000); ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (int64_t step = newest + 1;; ++step) save(root, step, "kill", static_cast<double>(step % 5));
    }
    usleep(static_cast<useconds_t>(500 + random.below(12000)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const Checkpoint c = open_latest(root, Verify::kChecksums);
    ASSERT_GE(c.step(), newest);
    newest = c.step();
    check(root, {newest});
  }
  EXPECT_GE(newest, 5);
}

}  // namespace
}  // namespace pan::checkpoint
