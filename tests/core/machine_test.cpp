// cgroup, threads, memory, signals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "core/cgroup.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/signals.h"
#include "core/threads.h"
#include "support/support.h"

namespace pan::core {
namespace {

using testing::TempFolder;

// A fake root with /proc/self/cgroup and a cgroup tree.
class FakeRoot {
 public:
  void put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ / path).parent_path());
    testing::write_text(folder_ / path, text + "\n");
  }
  const std::string& path() const { return folder_.path(); }

 private:
  TempFolder folder_;
};

TEST(Cgroup, V2TakesTheTightestLimitOnTheWayUp) {
  FakeRoot root;
  root.put("proc/self/cgroup", "0::/user.slice/job");
  root.put("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000");
  root.put("sys/fs/cgroup/user.slice/cpu.max", "150000 100000");
  root.put("sys/fs/cgroup/user.slice/job/memory.max", "2147483648");
  root.put("sys/fs/cgroup/user.slice/memory.max", "max");
  EXPECT_EQ(internal::cgroup_cpu_quota(root.path()), 1.5);
  EXPECT_EQ(internal::cgroup_memory_limit(root.path()), 2147483648u);
}

TEST(Cgroup, V2InsideAContainerReadsTheMountsTop) {
  FakeRoot root;
  root.put("proc/self/cgroup", "0::/docker/abc/not/visible/here");
  root.put("sys/fs/cgroup/cpu.max", "200000 100000");
  EXPECT_EQ(internal::cgroup_cpu_quota(root.path()), 2.0);
}

TEST(Cgroup, V1) {
  FakeRoot root;
  root.put("proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/docker/x\n3:memory:/docker/x");
  root.put("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "50000");
  root.put("sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000");
  root.put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1");
  root.put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
  root.put("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(internal::cgroup_cpu_quota(root.path()), 0.5);
  EXPECT_EQ(internal::cgroup_memory_limit(root.path()), std::nullopt);
  root.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576");
  EXPECT_EQ(internal::cgroup_memory_limit(root.path()), 1048576u);
}

TEST(Cgroup, NoneAndBrokenMeanNoLimit) {
  FakeRoot root;
  EXPECT_EQ(internal::cgroup_cpu_quota(root.path()), std::nullopt);
  root.put("proc/self/cgroup", "nonsense\n0::/a");
  root.put("sys/fs/cgroup/a/cpu.max", "");
  root.put("sys/fs/cgroup/a/memory.max", "many");
  EXPECT_EQ(internal::cgroup_cpu_quota(root.path()), std::nullopt);
  EXPECT_EQ(internal::cgroup_memory_limit(root.path()), std::nullopt);
}

TEST(Threads, FollowTheAffinityMask) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  const int all = usable_cpus();
  EXPECT_GE(all, 1);
  EXPECT_LE(all, CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(usable_cpus(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(usable_cpus(), all);
}

TEST(Memory, PeakSeesWhatIsFreedAgain) {
  constexpr uint64_t kSize = 64u << 20;
  const uint64_t before = resident_bytes();
  EXPECT_GT(before, 1u << 20);
  // Mapped, not allocated: an allocator need not give memory back.
  void* block = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, kSize);
  EXPECT_GE(resident_bytes(), before + kSize * 9 / 10);
  munmap(block, kSize);
  EXPECT_LT(resident_bytes(), before + kSize / 2);
  EXPECT_GE(peak_resident_bytes(), before + kSize * 9 / 10);
  EXPECT_GT(total_memory_bytes(), peak_resident_bytes());
}

// The exit status of a child that runs `f`.
template <class F>
int status_of_child(F f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(7);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST(Signals, FirstOnlySetsTheFlag) {
  reset_stop();
  install_stop_signals();
  EXPECT_FALSE(stop_requested());
  raise(SIGTERM);
  EXPECT_TRUE(stop_requested());
  EXPECT_EQ(stop_signal(), SIGTERM);
  raise(SIGTERM);
  raise(SIGINT);  // the first of its kind
  EXPECT_EQ(stop_signal(), SIGTERM);
  reset_stop();
  EXPECT_FALSE(stop_requested());
  EXPECT_EQ(stop_signal(), 0);
  request_stop();
  EXPECT_TRUE(stop_requested());
  EXPECT_EQ(stop_signal(), 0);
  reset_stop();
}

TEST(Signals, SecondInterruptLeavesWith130) {
  const int once = status_of_child([] {
    install_stop_signals();
    raise(SIGINT);
  });
  EXPECT_TRUE(WIFEXITED(once));
  EXPECT_EQ(WEXITSTATUS(once), 7);
  const int twice = status_of_child([] {
    install_stop_signals();
    raise(SIGINT);
    raise(SIGINT);
  });
  EXPECT_TRUE(WIFEXITED(twice));
  EXPECT_EQ(WEXITSTATUS(twice), 130);
}

}  // namespace
}  // namespace pan::core
