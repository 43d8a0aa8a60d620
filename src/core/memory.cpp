#include "core/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "core/cgroup.h"

namespace pan::core {
namespace {

// "VmHWM:	  123456 kB" of /proc/self/status; 0 where it is not told.
uint64_t status_bytes(const std::string& key) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream fields(line.substr(key.size() + 1));
    uint64_t kilobytes = 0;
    fields >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");  // exact; the figures of status are batched per thread
  uint64_t size = 0, resident = 0;
  if (in >> size >> resident) return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return status_bytes("VmRSS");
}

uint64_t peak_resident_bytes() {
  if (const uint64_t peak = status_bytes("VmHWM"); peak > 0) return std::max(peak, resident_bytes());
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

bool reset_peak_resident() {
  std::ofstream out("/proc/self/clear_refs");
  out << "5";
  return static_cast<bool>(out.flush());
}

uint64_t total_memory_bytes() {
  const auto machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(machine, internal::cgroup_memory_limit().value_or(machine));
}

}  // namespace pan::core
