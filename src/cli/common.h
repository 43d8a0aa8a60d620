// Small pieces that several subcommands share.
#pragma once

#include <string>

namespace pan::cli {

// "90s", "55m", "3h", "1h30m", plain seconds. Errors: kUsage.
double parse_duration(const std::string& text);

// "runs/NAME-DATE" with the name of the configuration file and the local time.
std::string default_run_dir(const std::string& config_path);

// Error: kUsage where a run is to be found again and has no name.
void check_auto_resume(const std::string& command, bool auto_resume, const std::string& run_dir);

// Environment variables that the program reads (PAN_ISA), before anything uses them. Errors: kUsage.
void check_environment();

}  // namespace pan::cli
