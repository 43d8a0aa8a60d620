#include "core/cgroup.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

namespace pan::core::internal {
namespace {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!in || !std::getline(in, line)) return std::nullopt;
  return line;
}

std::optional<double> parse_positive(const std::string& text) {
  std::istringstream in(text);
  double value = 0;
  if (!(in >> value) || value <= 0) return std::nullopt;  // v2 says "max", v1 says -1
  return value;
}

// One line of /proc/self/cgroup is "<id>:<controllers>:<path>"; v2 has the id 0 and no controllers.
struct Group {
  std::string mount;  // below /sys/fs/cgroup, "" for v2
  std::string path;
  bool v2 = false;
};

std::vector<Group> groups_of(const std::string& root, const std::string& controller) {
  std::vector<Group> groups;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      path = line.substr(second + 1);
    if (controllers.empty()) {
      groups.push_back({"", path, true});
      groups.push_back({"/unified", path, true});
    } else if (("," + controllers + ",").find("," + controller + ",") != std::string::npos) {
      groups.push_back({"/" + controllers, path, false});
      groups.push_back({"/" + controller, path, false});
    }
  }
  return groups;
}

// Calls `limit_in` for the process's group and every group above it, and returns the least answer. Inside a
// container the path of /proc/self/cgroup may not exist below the mount; its top then is the container's own
// group.
std::optional<double> tightest(
    const std::string& root, const std::string& controller,
    const std::function<std::optional<double>(const std::string&, bool)>& limit_in) {
  std::optional<double> least;
  for (const Group& group : groups_of(root, controller)) {
    std::string path = group.path;
    for (;;) {
      while (path.ends_with('/')) path.pop_back();
      const auto limit = limit_in(root + "/sys/fs/cgroup" + group.mount + path, group.v2);
      if (limit) least = std::min(least.value_or(*limit), *limit);
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return least;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const std::string& root) {
  return tightest(root, "cpu", [](const std::string& folder, bool v2) -> std::optional<double> {
    std::string quota, period;
    if (v2) {  // "<quota> <period>"
      std::istringstream in(first_line(folder + "/cpu.max").value_or(""));
      in >> quota >> period;
    } else {
      quota = first_line(folder + "/cpu.cfs_quota_us").value_or("");
      period = first_line(folder + "/cpu.cfs_period_us").value_or("");
    }
    const auto q = parse_positive(quota), p = parse_positive(period);
    if (!q || !p) return std::nullopt;
    return *q / *p;
  });
}

std::optional<uint64_t> cgroup_memory_limit(const std::string& root) {
  const auto limit = tightest(root, "memory", [](const std::string& folder, bool v2) {
    return parse_positive(first_line(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes")).value_or(""));
  });
  constexpr double kUnlimited =
      9e18;  // v1 says "no limit" as the largest multiple of the page size below 2^63
  if (!limit || *limit > kUnlimited) return std::nullopt;
  return static_cast<uint64_t>(*limit);
}

}  // namespace pan::core::internal
