#include "metrics/catalog.h"

#include <algorithm>
#include <utility>

#include "metrics/catalog_keys.h"

namespace pan::metrics {
namespace {

// `pattern` and `key` from the given offsets on; a {name} matches one or more characters other than '/' and
// '@'.
bool matches(const std::string& pattern, size_t p, const std::string& key, size_t k) {
  while (p < pattern.size()) {
    if (pattern[p] == '{') {
      const size_t after = pattern.find('}', p) + 1;
      for (size_t end = k + 1; end <= key.size() && key[end - 1] != '/' && key[end - 1] != '@'; ++end) {
        if (matches(pattern, after, key, end)) return true;
      }
      return false;
    }
    if (k >= key.size() || key[k] != pattern[p]) return false;
    ++p, ++k;
  }
  return k == key.size();
}

std::string cell(const std::string& text) {
  std::string out;
  for (char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

}  // namespace

const std::vector<KeyInfo>& catalog() {
  static const std::vector<KeyInfo> keys = internal::make_catalog();
  return keys;
}

const std::vector<TrlName>& trl_names() {
  static const std::vector<TrlName> names = internal::make_trl_names();
  return names;
}

const KeyInfo* find_key(const std::string& key) {
  const KeyInfo* by_pattern = nullptr;
  for (const KeyInfo& info : catalog()) {
    if (info.key == key) return &info;
    if (by_pattern == nullptr && info.key.find('{') != std::string::npos && matches(info.key, 0, key, 0)) {
      by_pattern = &info;
    }
  }
  return by_pattern;
}

std::vector<std::string> unknown_keys(const std::map<std::string, double>& values) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : values) {
    if (find_key(key) == nullptr) unknown.push_back(key);
  }
  return unknown;
}

std::string catalog_markdown() {
  std::vector<std::pair<std::string, std::string>> groups;  // first part of the path -> rows
  for (const KeyInfo& info : catalog()) {
    const std::string first = info.key.substr(0, info.key.find('/'));
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == first; });
    if (group == groups.end()) group = groups.insert(groups.end(), {first, ""});
    group->second += "| `" + info.key + "`" + (info.always ? " \\*" : "") + " | " + cell(info.unit) + " | " +
                     cell(info.formula) + " | " + cell(info.doc) + " |\n";
  }
  std::string out;
  for (const auto& [first, rows] : groups) {
    out += (out.empty() ? "## " : "\n## ") + first +
           "\n\n| key | unit | formula | meaning |\n|---|---|---|---|\n" + rows;
  }
  out += "\n## TRL's names\n\n| TRL | key here | difference |\n|---|---|---|\n";
  for (const TrlName& name : trl_names())
    out += "| `" + name.trl + "` | `" + name.key + "` | " + cell(name.note) + " |\n";
  return out;
}

}  // namespace pan::metrics
