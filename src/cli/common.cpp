#include "cli/common.h"

#include <cstdlib>
#include <ctime>

#include "core/error.h"
#include "kernels/isa.h"

namespace pan::cli {

double parse_duration(const std::string& text) {
  double seconds = 0;
  const char* p = text.c_str();
  bool good = *p != 0;
  while (good && *p) {
    char* end = nullptr;
    const double value = std::strtod(p, &end);
    good = end != p && value >= 0;
    double unit = 1;
    if (*end == 'h')
      unit = 3600, ++end;
    else if (*end == 'm')
      unit = 60, ++end;
    else if (*end == 's')
      ++end;
    else if (*end != 0)
      good = false;
    seconds += value * unit;
    p = end;
  }
  PAN_CHECK(good && seconds > 0, kUsage, "not a duration")
      .where("the command line")
      .pointer("--time-limit")
      .expected("like 90s, 55m, 3h or 1h30m")
      .got(text)
      .remedy("Give a number above 0 with h, m or s");
  return seconds;
}

std::string default_run_dir(const std::string& config_path) {
  std::string name = config_path.substr(config_path.find_last_of('/') + 1);
  name = name.substr(0, name.find_last_of('.'));
  char stamp[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  std::strftime(stamp, sizeof stamp, "-%Y%m%d-%H%M%S", localtime_r(&now, &parts));
  return "runs/" + name + stamp;
}

void check_auto_resume(const std::string& command, bool auto_resume, const std::string& run_dir) {
  PAN_CHECK(!auto_resume || !run_dir.empty(), kUsage, "--auto-resume needs --run-dir")
      .where("pan-ppo " + command)
      .expected("--run-dir DIR, the same each time")
      .got("none")
      .remedy("Add --run-dir DIR");
}

void check_environment() {
  const auto problem = kernels::isa_problem();
  if (!problem) return;
  throw core::Error(core::ErrorKind::kUsage, problem->what)
      .where("the environment variable PAN_ISA")
      .expected(problem->expected)
      .got(problem->got)
      .remedy("Unset PAN_ISA to use what the processor has");
}

}  // namespace pan::cli
