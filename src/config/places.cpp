#include "config/places.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "tasks/names_config.h"
#include "tasks/tasks_config.h"

namespace pan::config {
namespace {

std::vector<std::string> keys_of_task(const std::string& name) {
  tasks::TaskConfig config;
  config.name = name;
  std::vector<std::string> keys;
  for (const std::string& pointer : pointers_of([&](core::Fields& f) { describe(f, config); }))
    keys.push_back(pointer.substr(1));
  return keys;
}

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; }

// Whether `text` mentions `name` as a word of its own; a full stop after it does not belong to it.
bool mentions(const std::string& text, const std::string& name) {
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const size_t end = at + name.size();
    const bool begins = at == 0 || !is_name(text[at - 1]);
    const bool ends = end == text.size() || !is_name(text[end]) ||
                      (text[end] == '.' && (end + 1 == text.size() || !is_name(text[end + 1])));
    if (begins && ends) return true;
  }
  return false;
}

}  // namespace

void Places::apply(core::Json& tree, const std::vector<std::string>& overrides) {
  for (const std::string& assignment : overrides) overridden_.insert(core::apply_override(tree, assignment));
}

int Places::line_of(const std::string& pointer) const {
  for (const std::string& set : overridden_)
    if (pointer == set || pointer.rfind(set + "/", 0) == 0) return core::kFromOverride;
  return text_.empty() ? 0 : core::line_of_pointer(text_, pointer);
}

std::string Places::place_of(const std::string& pointer) const {
  const int line = line_of(pointer);
  if (line == core::kFromOverride) return pointer + ", from --set";
  return pointer + (line > 0 ? ", line " + std::to_string(line) : ", its default");
}

void Places::add_to(core::Error& error, const std::vector<std::string>& pointers) const {
  const std::string pointer = error.pointer_text();
  if (error.kind() != core::ErrorKind::kConfig || !error.where_text().empty() || pointer.empty() ||
      pointer[0] != '/')
    return;
  const std::string text = error.expected_text() + " | " + error.got_text() + " | " + error.remedy_text();
  std::string places = place_of(pointer);
  for (const std::string& other : pointers) {
    std::string dotted = other.substr(1);
    std::replace(dotted.begin(), dotted.end(), '/', '.');
    if (other != pointer && dotted.find('.') != std::string::npos && mentions(text, dotted))
      places += "; " + place_of(other);
  }
  error.where(line_of(pointer) == core::kFromOverride ? "--set" : source_).pointer(places);
  if (error.remedy_text().empty())
    error.remedy((places.find(';') == std::string::npos ? "Change it" : "Change one of them") +
                 std::string("; `pan-ppo config explain ") + pointer.substr(1) + "` says what it means");
}

std::vector<std::string> pointers_of(const core::Describe& describe) {
  std::vector<std::string> pointers;
  for (const core::FieldDoc& doc : core::explain_fields(describe)) pointers.push_back(doc.pointer);
  return pointers;
}

void check_task_keys(const core::Json& tree, const Places& places, const std::string& source) {
  const auto task = tree.find("task");
  if (task == tree.end() || !task->is_object()) return;
  const auto name = task->find("name");
  if (name != task->end() && !name->is_string()) return;
  const std::string chosen = name == task->end() ? tasks::TaskConfig{}.name : name->get<std::string>();
  if (!holds(tasks::task_names(), chosen)) return;
  const std::vector<std::string> own = keys_of_task(chosen);
  for (const auto& [key, value] : task->items()) {
    if (holds(own, key)) continue;
    for (const std::string& other : tasks::task_names()) {
      if (other == chosen || !holds(keys_of_task(other), key)) continue;
      const int line = places.line_of("/task/" + key);
      throw core::Error(core::ErrorKind::kConfig, "this setting does not belong to task " + chosen)
          .where(line == core::kFromOverride ? "--set" : source)
          .pointer("/task/" + key + (line > 0 ? ", line " + std::to_string(line) : ""))
          .expected("keys of " + chosen + ": " + joined(own))
          .got(key + ", a key of " + other)
          .remedy("Take the keys of " + other +
                  " out of the file, or replace the whole task: --set 'task={\"name\": \"" + chosen + "\"}'");
    }
  }
}

}  // namespace pan::config
