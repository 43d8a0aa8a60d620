#include "tasks/command/line_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "core/signals.h"

extern char** environ;

namespace pan::tasks {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kErrorLines = 10;    // of stderr that are kept
constexpr size_t kErrorLength = 400;  // bytes of each
constexpr int kPollMs = 100;          // how soon a stop signal is seen
constexpr double kEndSeconds = 2;     // for the program to end once its input is closed

// Writing to a program that has ended raises SIGPIPE. It is held back from this thread and taken away again,
// so that nothing changes for the rest of the process.
class HeldSigpipe {
 public:
  HeldSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~HeldSigpipe() {
    const timespec now = {};
    while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &now) == SIGPIPE) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  HeldSigpipe(const HeldSigpipe&) = delete;
  HeldSigpipe& operator=(const HeldSigpipe&) = delete;

 private:
  sigset_t pipe_, before_;
  bool was_pending_ = false;
};

struct Ends {
  int read = -1, write = -1;
};

Ends make_pipe() {
  int fds[2];
  PAN_CHECK(pipe2(fds, O_CLOEXEC) == 0, kIo, "no pipe to the program of reward.command can be made")
      .pointer("/reward/command")
      .expected("a pipe")
      .got(std::strerror(errno))
      .remedy("Raise the limit of open files (ulimit -n)");
  return {fds[0], fds[1]};
}

void sleep_ms(int ms) {
  const timespec t = {ms / 1000, static_cast<long>(ms % 1000) * 1000000};
  nanosleep(&t, nullptr);
}

int spawn(pid_t& pid, const std::vector<std::string>& argv, int in, int out, int err) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const int failure = posix_spawnp(&pid, words[0], &files, &attributes, words.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return failure;
}

}  // namespace

void LineProcess::Pipe::close() {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

LineProcess::LineProcess(const std::vector<std::string>& argv) {
  // The pipes belong to this object before anything can fail.
  Pipe child_in, child_out, child_err;
  Ends ends = make_pipe();
  child_in.fd = ends.read, in_.fd = ends.write;
  ends = make_pipe();
  out_.fd = ends.read, child_out.fd = ends.write;
  ends = make_pipe();
  err_.fd = ends.read, child_err.fd = ends.write;
  const int failure = spawn(pid_, argv, child_in.fd, child_out.fd, child_err.fd);
  if (failure != 0) pid_ = -1;
  PAN_CHECK(failure == 0, kConfig, "the program of reward.command cannot be started")
      .pointer("/reward/command")
      .expected("a program in PATH, or the path of one that may be executed")
      .got(argv[0] + ": " + std::strerror(failure))
      .remedy("Give the list of the program and its arguments, such as [\"python3\", \"reward.py\"]");
  for (const Pipe* p : {&in_, &out_, &err_}) fcntl(p->fd, F_SETFL, fcntl(p->fd, F_GETFL) | O_NONBLOCK);
}

LineProcess::~LineProcess() {
  if (pid_ < 0) return;
  in_.close();
  const auto end = Clock::now() + std::chrono::duration<double>(kEndSeconds);
  while (!ended(0) && Clock::now() < end) {
    std::vector<std::string> dropped;
    if (out_.fd >= 0 && !read_output(dropped)) out_.close();  // it may wait for room in the pipe
    read_errors();
    sleep_ms(5);
  }
  // The leader has not been waited for, so the group's number cannot have been given to another.
  ::kill(-pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool LineProcess::ended(double wait_seconds) const {
  const auto end = Clock::now() + std::chrono::duration<double>(wait_seconds);
  while (true) {
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == pid_)
      return true;
    if (Clock::now() >= end) return false;
    sleep_ms(5);
  }
}

void LineProcess::kill() { ::kill(-pid_, SIGKILL); }

std::string LineProcess::status(double wait_seconds) {
  if (!ended(wait_seconds)) return "still running";
  siginfo_t info = {};
  waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  read_errors();
  if (info.si_code == CLD_EXITED) return "exit status " + std::to_string(info.si_status);
  return "killed by signal " + std::to_string(info.si_status);
}

std::string LineProcess::last_errors() const {
  std::string out;
  for (const std::string& line : errors_) out += (out.empty() ? "" : " | ") + line;
  if (!partial_error_.empty()) out += (out.empty() ? "" : " | ") + partial_error_.substr(0, kErrorLength);
  return out;
}

LineProcess::End LineProcess::exchange(const std::string& input, size_t num_lines, double seconds,
                                       std::vector<std::string>& lines) {
  const HeldSigpipe held;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  size_t written = 0;
  while (written < input.size() || lines.size() < num_lines) {
    if (core::stop_requested()) return End::kStopped;
    if (out_.fd < 0) return End::kClosed;
    if (Clock::now() >= end) return End::kTimeout;
    // A closed pipe has fd -1, which poll passes over.
    pollfd fds[3] = {
        {written < input.size() ? in_.fd : -1, POLLOUT, 0}, {out_.fd, POLLIN, 0}, {err_.fd, POLLIN, 0}};
    if (poll(fds, 3, kPollMs) <= 0) continue;
    if (fds[0].revents != 0) write_some(input, written);
    if (fds[2].revents != 0) read_errors();
    if (fds[1].revents == 0 || read_output(lines)) continue;
    if (!partial_.empty()) lines.push_back(std::exchange(partial_, ""));
    out_.close();
  }
  return End::kDone;
}

std::optional<std::string> LineProcess::waiting_output() {
  std::vector<std::string> lines;
  if (out_.fd >= 0) read_output(lines);
  if (lines.empty() && !partial_.empty()) lines.push_back(std::exchange(partial_, ""));
  if (lines.empty()) return std::nullopt;
  return lines.front();
}

// A program that takes no more input may still answer, so only its output says that it has ended.
void LineProcess::write_some(const std::string& input, size_t& written) {
  const ssize_t n = ::write(in_.fd, input.data() + written, input.size() - written);
  if (n > 0) written += static_cast<size_t>(n);
  if (n < 0 && errno != EAGAIN && errno != EINTR) in_.close();
}

// False: the end of the output.
bool LineProcess::read_output(std::vector<std::string>& lines) {
  char buffer[65536];
  const ssize_t n = ::read(out_.fd, buffer, sizeof buffer);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return false;
  const char* from = buffer;
  const char* const stop = buffer + n;
  while (const void* at = std::memchr(from, '\n', static_cast<size_t>(stop - from))) {
    const char* newline = static_cast<const char*>(at);
    lines.push_back(partial_ + std::string(from, newline));
    partial_.clear();
    from = newline + 1;
  }
  partial_.append(from, stop);
  return true;
}

void LineProcess::read_errors() {
  char buffer[16384];
  while (err_.fd >= 0) {
    const ssize_t n = ::read(err_.fd, buffer, sizeof buffer);
    if (n < 0) return;
    if (n == 0) return err_.close();
    for (const char c : std::string_view(buffer, static_cast<size_t>(n))) {
      if (c == '\n') {
        note_error_line(partial_error_);
        partial_error_.clear();
      } else if (partial_error_.size() < kErrorLength) {
        partial_error_ += c;
      }
    }
  }
}

void LineProcess::note_error_line(const std::string& line) {
  core::log_debug("reward.command: " + line);
  errors_.push_back(line);
  if (errors_.size() > kErrorLines) errors_.pop_front();
}

}  // namespace pan::tasks
