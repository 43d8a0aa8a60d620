// Memory of this process and of the machine, in bytes.
#pragma once

#include <cstdint>

namespace pan::core {

uint64_t resident_bytes();       // now (VmRSS)
uint64_t peak_resident_bytes();  // highest since the start of the process, or the last reset (VmHWM)

// Starts the peak anew at the present size. False where the system does not let us.
bool reset_peak_resident();

// What the process may use at most: the machine's memory or the cgroup's limit, whichever is less.
uint64_t total_memory_bytes();

}  // namespace pan::core
