// A program that answers lines with lines, kept running.
//
//   LineProcess p({"python3", "reward.py"});
//   std::vector<std::string> lines;
//   if (p.exchange(input, 128, 60, lines) != LineProcess::End::kDone) ... p.status() ... p.last_errors()
//
// It runs in a process group of its own (an interrupt at the terminal does not reach it) with default signal
// actions, and ends with this object: its input is closed, and what is left of the group after two seconds is
// killed.
#pragma once

#include <sys/types.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace pan::tasks {

class LineProcess {
 public:
  // Not through a shell; argv[0] is looked for in PATH. Error: kConfig where it cannot be started.
  explicit LineProcess(const std::vector<std::string>& argv);
  ~LineProcess();
  LineProcess(const LineProcess&) = delete;
  LineProcess& operator=(const LineProcess&) = delete;

  enum class End {
    kDone,     // at least `num_lines` lines came and all input was taken
    kTimeout,  // not within `seconds`
    kClosed,   // it ended, or closed its output
    kStopped,  // a stop signal came (core/signals.h)
  };
  // Writes `input` while it reads, so that neither side waits for the other however long both are. `lines`
  // without line breaks; more than `num_lines` where more came. After anything but kDone the process is of no
  // further use.
  End exchange(const std::string& input, size_t num_lines, double seconds, std::vector<std::string>& lines);

  // The first of the lines that came since the last exchange, or what there is of it; waits for nothing. The
  // lines are gone.
  std::optional<std::string> waiting_output();

  // "exit status 3", "killed by signal 11", "still running" after this long.
  std::string status(double wait_seconds);
  // Ends the whole group at once.
  void kill();
  // The last lines it wrote to stderr, " | " between; empty where there are none.
  std::string last_errors() const;

 private:
  struct Pipe {
    int fd = -1;
    ~Pipe() { close(); }
    void close();
  };

  bool ended(double wait_seconds) const;
  void write_some(const std::string& input, size_t& written);
  bool read_output(std::vector<std::string>& lines);
  void read_errors();
  void note_error_line(const std::string& line);

  pid_t pid_ = -1;
  Pipe in_, out_, err_;        // of the program
  std::string partial_;        // output after the last line break
  std::string partial_error_;  // the same of stderr
  std::deque<std::string> errors_;
};

}  // namespace pan::tasks
