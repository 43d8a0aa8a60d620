#include "core/log.h"
#include "core/log_file.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/file.h"

namespace pan::core {
namespace {

struct State {
  std::mutex mutex;
  std::shared_ptr<spdlog::sinks::sink> console = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  std::unique_ptr<FileWriter> file;
  std::string file_path;
  uint64_t file_bytes = 0;
  std::optional<Error> file_failure;
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

// 2026-11-24T09:30:00+01:00
std::string time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S%z", localtime_r(&now, &parts));
  return std::string(text).insert(std::string(text).size() - 2, ":");
}

void write_to_file(State& s, const std::string& text) {
  if (!s.file) return;
  const std::string line = time_text() + " " + text + "\n";
  try {
    s.file->write(line.data(), line.size());
    s.file_bytes += line.size();
  } catch (const Error& error) {
    s.file_failure = error;
    s.file.reset();
    try {
      disk().truncate(s.file_path, s.file_bytes);  // half a line would join the next one
    } catch (const Error&) {                       // the first error is the one to report
    }
  }
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
  write_to_file(s, text);
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
  s.file_failure.reset();
  if (path.empty()) return;
  s.file = disk().append(path);
  s.file_path = path;
  s.file_bytes = std::filesystem::is_regular_file(path) ? file_size(path) : 0;
}

void check_log_file() {
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (!s.file_failure) return;
  const Error error = *s.file_failure;
  s.file_failure.reset();
  throw error;
}

uint64_t sync_log_file() {
  check_log_file();
  State& s = state();
  std::lock_guard lock(s.mutex);
  if (!s.file) return 0;
  if (std::filesystem::is_regular_file(s.file_path)) s.file->sync();
  return s.file_bytes;
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
