#include "core/threads.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <thread>

#include "core/cgroup.h"

namespace pan::core {
namespace {

int affinity_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on machines with more processors than the set holds (1024); all of them are assumed then.
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int usable_cpus() {
  const auto quota = internal::cgroup_cpu_quota();
  const int allowed = affinity_cpus();
  if (!quota || *quota >= allowed) return allowed;
  return std::max(1, static_cast<int>(std::floor(*quota + 1e-6)));
}

std::string describe_cpus() {
  const auto quota = internal::cgroup_cpu_quota();
  char text[96];
  if (quota && *quota < affinity_cpus()) {
    std::snprintf(text, sizeof(text), "%d (quota %.1f of %d processors)", usable_cpus(), *quota,
                  affinity_cpus());
  } else {
    std::snprintf(text, sizeof(text), "%d", usable_cpus());
  }
  return text;
}

void limit_spinning(char** argv) {
  if (::getenv("GOMP_SPINCOUNT") != nullptr || ::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  // By its real name, which is what `ps` shows; where it cannot be started again the threads spin.
  std::error_code none;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", none);
  if (program.filename().string().starts_with("ld")) return;  // started through the dynamic loader
  ::execv(program.c_str(), argv);
}

}  // namespace pan::core
