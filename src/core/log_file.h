// What a run has to know of its log file (core/log.h opens it).
//
//   core::set_log_file(path);
//   core::log_info("step done");
//   core::check_log_file();             // throws where the disk did not take the line
//   state["log"] = core::sync_log_file();
#pragma once

#include <cstdint>

namespace pan::core {

// A line that the file does not take never stops the caller, who may be handling an error: the file is
// closed, and this throws what went wrong, once. Error: kIo.
void check_log_file();

// Puts the file on the device and returns its length in bytes; 0 where none is open. Error: kIo.
uint64_t sync_log_file();

}  // namespace pan::core
