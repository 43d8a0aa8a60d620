#include "experiment/processes.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "core/error.h"

namespace pan::experiment {
namespace {

using Clock = std::chrono::steady_clock;

struct Child {
  pid_t pid = -1;
  size_t command = 0;
  Clock::time_point begin;
};

// In the child: only calls that are safe after a fork.
[[noreturn]] void become(char* const* words, int log, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(143);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  execv(words[0], words);
  _exit(127);
}

pid_t start(const Command& command) {
  const int log = open(command.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0)
    throw core::Error(core::ErrorKind::kIo, "cannot write the log of a run")
        .where(command.log)
        .got(std::strerror(errno));
  std::vector<char*> words;
  for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = getpid(), pid = fork();
  if (pid == 0) become(words.data(), log, parent);
  close(log);
  PAN_CHECK(pid > 0, kIo, "cannot start a process").where(command.words[0]).got(std::strerror(errno));
  return pid;
}

Ended ended(int status, Clock::time_point begin) {
  Ended e;
  e.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  e.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  e.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return e;
}

}  // namespace

bool run_all(const std::vector<Command>& commands, const ProcessOptions& o) {
  std::vector<Child> running;
  size_t next = 0;
  bool stopping = false;
  auto stop_children = [&] {
    for (const Child& child : running) kill(child.pid, SIGTERM);
  };
  while (true) {
    if (!stopping && o.should_stop && o.should_stop()) {
      stopping = true;
      stop_children();
    }
    while (!stopping && next < commands.size() && static_cast<int64_t>(running.size()) < o.parallel) {
      try {
        running.push_back({start(commands[next]), next, Clock::now()});
      } catch (...) {
        stop_children();
        for (const Child& child : running) waitpid(child.pid, nullptr, 0);
        throw;
      }
      if (o.on_begin) o.on_begin(commands[next]);
      ++next;
    }
    if (running.empty()) return !stopping;
    for (size_t i = 0; i < running.size();) {
      int status = 0;
      if (waitpid(running[i].pid, &status, WNOHANG) != running[i].pid) {
        ++i;
        continue;
      }
      const Child child = running[i];
      running.erase(running.begin() + static_cast<int64_t>(i));
      if (o.on_end) o.on_end(commands[child.command], ended(status, child.begin));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

std::string this_program() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  PAN_CHECK(n > 0, kIo, "cannot find this program's own file")
      .where("/proc/self/exe")
      .got(std::strerror(errno));
  return std::string(path, static_cast<size_t>(n));
}

}  // namespace pan::experiment
