// What a person sees while a run goes on: one line per iteration, and how far a long phase is.
//
//   core::log_info(metrics::iteration_line({.iteration = 3, .total = 100, .eta_s = 5400}, values));
//   metrics::Progress bar("rollout", num_sequences, "seq");
//   bar.update(done);                      // cheap; draws at most ten times a second
//
// On a terminal the bar is one line that is rewritten and clears itself around log lines; elsewhere (log
// files, job queues) a plain line is logged every half minute.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace pan::metrics {

struct IterationFacts {
  int64_t iteration = 0;  // from 1, as people count
  int64_t total = 0;
  double eta_s = -1;  // negative: unknown
};

// "iteration 3/100 | reward 0.61 (task 0.55, rhythm +0.06) | accuracy 55 % | length 182 (3 % cut) | KL 0.0012
// | clip 1.2 % |
//  value loss 0.021 (explained 0.43) | sample 12 s, score 4.1 s, update 20 s | 812 token/s | 1 h 30 min left"
// Figures whose key is absent are left out; non-finite ones are shown as nan.
std::string iteration_line(const IterationFacts& facts, const std::map<std::string, double>& values);

// "3.2 s", "12 s", "4 min 05 s", "1 h 30 min", "2 d 3 h".
std::string duration_text(double seconds);

// Where progress goes. Tests replace the parts.
struct Terminal {
  bool is_tty = false;
  std::function<void(const std::string&)> write;  // raw bytes to the terminal
  std::function<void(const std::string&)> line;   // a log line
  std::function<double()> now_s;                  // steady clock
  std::function<int()> columns;                   // width of the terminal
};
// stderr and core::log_info; a terminal unless TERM is "dumb".
Terminal stderr_terminal();

// The progress of one phase. Progress of a phase inside another one replaces it until it ends. One thread at
// a time; log lines may come from any thread.
class Progress {
 public:
  Progress(const std::string& label, int64_t total, const std::string& unit,
           Terminal terminal = stderr_terminal());
  ~Progress();  // clears the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `note` follows the figures, e.g. "812 token/s".
  void update(int64_t done, const std::string& note = "");

 private:
  struct State;
  friend struct Bars;  // the open bars of this process
  std::shared_ptr<State> state_;
};

}  // namespace pan::metrics
