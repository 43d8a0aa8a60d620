// Runs commands, several at a time, and stops them in good order.
//
//   run_all(commands, {.parallel = 2, .on_end = [](const Command& c, const Ended& e) { ... }});
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace pan::experiment {

struct Command {
  std::vector<std::string> words;  // words[0] is the program's path
  std::string log;                 // stdout and stderr are appended to this file
  size_t id = 0;                   // the caller's
};

struct Ended {
  int code = 0;    // exit status; -1 where a signal ended it
  int signal = 0;  // that signal
  double seconds = 0;
};

struct ProcessOptions {
  int64_t parallel = 1;
  std::function<bool()> should_stop = {};  // true: nothing new is begun, what runs gets SIGTERM once
  std::function<void(const Command&)> on_begin = {};
  std::function<void(const Command&, const Ended&)> on_end = {};
};

// Returns when everything has ended. Children are in process groups of their own (an interrupt at the
// terminal reaches them only as this program's SIGTERM, once) and get SIGTERM when this process dies. False:
// stopped. Errors: kIo where a process cannot be made.
bool run_all(const std::vector<Command>& commands, const ProcessOptions& options);

// The path of the program that is running.
std::string this_program();

}  // namespace pan::experiment
