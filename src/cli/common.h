// Small pieces that several subcommands share.
#pragma once

#include <string>

namespace pan::cli {

// "90s", "55m", "3h", "1h30m", plain seconds. Errors: kUsage.
double parse_duration(const std::string& text);

}  // namespace pan::cli
