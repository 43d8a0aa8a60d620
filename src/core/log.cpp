#include "core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <set>

#include "core/error.h"

namespace pan::core {
namespace {

struct State {
  std::mutex mutex;
  std::shared_ptr<spdlog::sinks::sink> console = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  std::shared_ptr<spdlog::sinks::sink> file;
  LogLevel level = LogLevel::kInfo;
  int rank = -1;
  std::set<std::string> warned;
  void (*before)() = nullptr;
  void (*after)() = nullptr;

  State() { console->set_pattern("%v"); }
};

State& state() {
  static State* s = new State;  // never destroyed: lines may come from exit handlers
  return *s;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug: ";
    case LogLevel::kInfo:
      return "";
    case LogLevel::kWarn:
      return "warning: ";
    case LogLevel::kError:
      return "error: ";
  }
  return "";
}

void write(LogLevel level, const std::string& line) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (level < s.level) return;
  std::string text = s.rank >= 0 ? "[rank " + std::to_string(s.rank) + "] " : "";
  text += name_of(level) + line;
  const spdlog::details::log_msg message("pan-ppo", spdlog::level::info, text);
  if (s.before) s.before();
  s.console->log(message);
  s.console->flush();
  if (s.after) s.after();
  if (s.file) {
    s.file->log(message);
    s.file->flush();
  }
}

}  // namespace

void set_log_level(LogLevel level) { state().level = level; }
void set_log_rank(int rank) { state().rank = rank; }
void set_log_hooks(void (*before)(), void (*after)()) {
  std::lock_guard lock(state().mutex);
  state().before = before;
  state().after = after;
}

void set_log_file(const std::string& path) {
  State& s = state();
  std::lock_guard lock(s.mutex);
  s.file.reset();
  if (path.empty()) return;
  try {
    s.file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    s.file->set_pattern("%Y-%m-%dT%H:%M:%S%z %v");
  } catch (const spdlog::spdlog_ex& error) {
    throw Error(ErrorKind::kIo, "the log file cannot be opened")
        .where(path)
        .got(error.what())
        .remedy("Check the folder and its permissions");
  }
}

void log_debug(const std::string& line) { write(LogLevel::kDebug, line); }
void log_info(const std::string& line) { write(LogLevel::kInfo, line); }
void log_warn(const std::string& line) { write(LogLevel::kWarn, line); }
void log_error(const std::string& line) { write(LogLevel::kError, line); }

void log_warn(const std::string& key, const std::string& line) {
  {
    std::lock_guard lock(state().mutex);
    if (!state().warned.insert(key).second) return;
  }
  write(LogLevel::kWarn, line);
}

}  // namespace pan::core
