// Something done at a line of the log, a stop signal for instance.
//
//   {
//     const StopAtLine stop(3);   // the third line that is written from here on asks the run to stop
//     train(...);
//   }                             // hook and request are gone again
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "core/log.h"
#include "core/signals.h"

namespace pan::testing {

class AtLogLine {
 public:
  AtLogLine(int64_t line, std::function<void()> act) {
    left_ = line;
    act_ = std::move(act);
    core::set_log_hooks(nullptr, count);
  }
  ~AtLogLine() { core::set_log_hooks(nullptr, nullptr); }
  AtLogLine(const AtLogLine&) = delete;
  AtLogLine& operator=(const AtLogLine&) = delete;

 private:
  static void count() {
    if (--left_ == 0) act_();
  }
  static inline int64_t left_ = 0;
  static inline std::function<void()> act_;
};

class StopAtLine : public AtLogLine {
 public:
  explicit StopAtLine(int64_t line) : AtLogLine(line, core::request_stop) {}
  ~StopAtLine() { core::reset_stop(); }
};

}  // namespace pan::testing
