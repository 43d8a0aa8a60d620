// Limits that a container or a job scheduler puts on this process. Used by threads and memory only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pan::core::internal {

// `root` is prefixed to every path that is read ("" is the machine itself; tests give a folder with the same
// layout). Reads cgroup v1 and v2; the tightest limit of the process's group and all groups above it counts.
// A machine without cgroups has no limits.
std::optional<double> cgroup_cpu_quota(const std::string& root = "");       // in CPUs, e.g. 1.5
std::optional<uint64_t> cgroup_memory_limit(const std::string& root = "");  // in bytes

}  // namespace pan::core::internal
