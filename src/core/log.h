// Levelled lines to stderr (never stdout), and to a log file where one is set.
//
//   core::log_warn("rollout.top_p", "top_p = 0.9 cuts the distribution; log-probabilities are those of the
//   full one");
#pragma once

#include <string>

namespace pan::core {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// Lines below `level` are dropped. Default kInfo. `rank` >= 0 prefixes each line with it.
void set_log_level(LogLevel level);
void set_log_rank(int rank);

// Appends every line, with its time, to `path` as well. An empty path closes the file.
// Error: kIo when the file cannot be opened.
void set_log_file(const std::string& path);

void log_debug(const std::string& line);
void log_info(const std::string& line);
void log_warn(const std::string& line);
void log_error(const std::string& line);

// Warns once per process and key.
void log_warn(const std::string& key, const std::string& line);

// Called before a line is written to stderr and after it; lets a progress bar clear itself. Null by default.
void set_log_hooks(void (*before)(), void (*after)());

}  // namespace pan::core
