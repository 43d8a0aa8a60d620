// Small pieces that several subcommands share.
#pragma once

#include <string>

namespace pan::cli {

// "90s", "55m", "3h", "1h30m", plain seconds. Errors: kUsage.
double parse_duration(const std::string& text);

// Environment variables that the program reads (PAN_ISA), before anything uses them. Errors: kUsage.
void check_environment();

}  // namespace pan::cli
