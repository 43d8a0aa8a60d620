// Time that has gone by, in seconds.
//
//   const core::Stopwatch watch;
//   metrics["timing_s/adv"] = watch.seconds();
#pragma once

#include <chrono>

namespace pan::core {

// Of a clock that only goes forward, since some moment in the past.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Stopwatch {
 public:
  double seconds() const { return now_s() - start_; }

 private:
  double start_ = now_s();
};

// Adds the time of a scope to a counter.
class ScopeTimer {
 public:
  explicit ScopeTimer(double& total_s) : total_s_(total_s) {}
  ~ScopeTimer() { total_s_ += watch_.seconds(); }
  ScopeTimer(const ScopeTimer&) = delete;
  ScopeTimer& operator=(const ScopeTimer&) = delete;

 private:
  double& total_s_;
  Stopwatch watch_;
};

}  // namespace pan::core
