// Time that has gone by, in seconds.
//
//   const core::Stopwatch watch;
//   metrics["timing_s/adv"] = watch.seconds();
#pragma once

#include <chrono>

namespace pan::core {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
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
