// A stop signal at a line of the log.
//
//   {
//     const StopAtLine stop(3);   // the third line that is written from here on asks the run to stop
//     train(...);
//   }                             // hook and request are gone again
#pragma once

#include <cstdint>

#include "core/log.h"
#include "core/signals.h"

namespace pan::testing {

class StopAtLine {
 public:
  explicit StopAtLine(int64_t line) {
    left_ = line;
    core::set_log_hooks(nullptr, count);
  }
  ~StopAtLine() {
    core::set_log_hooks(nullptr, nullptr);
    core::reset_stop();
  }
  StopAtLine(const StopAtLine&) = delete;
  StopAtLine& operator=(const StopAtLine&) = delete;

 private:
  static void count() {
    if (--left_ == 0) core::request_stop();
  }
  static inline int64_t left_ = 0;
};

}  // namespace pan::testing
