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

// Has idle OpenMP threads sleep after a few microseconds instead of spinning for milliseconds, which makes a
// run several times slower when other work wants the same processors and gains next to nothing when none
// does. libgomp reads the setting while it is loaded, so this starts the program again in the same process;
// to be called first in main. GOMP_SPINCOUNT or OMP_WAIT_POLICY in the environment are left as they are.
void limit_spinning(char** argv);

}  // namespace pan::core
