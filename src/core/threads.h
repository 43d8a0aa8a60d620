// How many processors this process may really use.
#pragma once

#include <string>

namespace pan::core {

// The least of the affinity mask and the cgroup (v1, v2) quota rounded down, at least 1. A container with a
// quota of two CPUs on a machine of 64 gets 2: more threads would only be stopped by the scheduler at every
// barrier.
int usable_cpus();

// The same in words, for logs: "2 (quota 2.0 of 64 processors)".
std::string describe_cpus();

}  // namespace pan::core
