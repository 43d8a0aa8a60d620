#include "config/load.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"

namespace pan::config {
namespace {

core::Describe tree(RunConfig& c) {
  return [&c](core::Fields& f) { describe(f, c); };
}

// Whether a key may differ between two runs that compute the same. The number of iterations matters where a
// learning rate falls towards the end of the run.
bool is_cosmetic(const std::string& pointer, const RunConfig& c) {
  const bool scheduled = c.rl.optimizer.schedule != rl::Schedule::kConstant ||
                         c.rl.critic_optimizer.schedule != rl::Schedule::kConstant;
  if (pointer == "/train/iterations") return !scheduled;
  static const std::set<std::string> exact = {
      "/train/time_limit_s", "/train/show_sample_every", "/train/tensorboard",     "/train/peak_tflops",
      "/eval/slots",         "/model/export_dtype",      "/train/early_stop_evals"};
  return exact.count(pointer) != 0 || pointer.rfind("/checkpoint/", 0) == 0;
}

void flatten(const core::Json& json, const std::string& pointer,
             std::vector<std::pair<std::string, std::string>>& out) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) flatten(value, pointer + "/" + key, out);
  } else {
    out.emplace_back(pointer, core::dump_json(json));
  }
}

}  // namespace

Loaded load_run_json(core::Json json, const std::string& source, const std::vector<std::string>& overrides,
                     const std::string& text) {
  Loaded loaded{.config = {}, .notes = {}, .places = Places(source, text)};
  loaded.places.apply(json, overrides);
  check_task_keys(json, loaded.places, source);
  core::read_fields(tree(loaded.config), json, source,
                    [&](const std::string& pointer) { return loaded.places.line_of(pointer); });
  try {
    loaded.notes = check(loaded.config);
  } catch (core::Error& error) {
    loaded.add_places(error);
    throw;
  }
  return loaded;
}

void Loaded::add_places(core::Error& error) const {
  RunConfig copy = config;
  places.add_to(error, pointers_of(tree(copy)));
}

std::string config_text(const std::string& path) {
  PAN_CHECK(core::exists(path) && !core::is_folder(path), kConfig, "there is no such configuration file")
      .where(path)
      .expected("a JSON file")
      .got(core::is_folder(path) ? "a folder" : "nothing of that name")
      .remedy("Give an existing file with --config; configs/ has examples");
  return core::read_file(path);
}

Loaded load_run(const std::string& path, const std::vector<std::string>& overrides) {
  const std::string text = config_text(path);
  return load_run_json(core::parse_json(text, path, core::JsonDialect::kWithComments), path, overrides, text);
}

core::Json resolved(const RunConfig& config) {
  RunConfig copy = config;
  return core::print_fields(tree(copy));
}

std::vector<std::string> differences(const RunConfig& before, const RunConfig& after) {
  std::vector<std::pair<std::string, std::string>> a, b;
  flatten(resolved(before), "", a);
  flatten(resolved(after), "", b);
  std::vector<std::string> found;
  auto value_in = [](const auto& flat, const std::string& pointer) -> std::string {
    for (const auto& [p, v] : flat)
      if (p == pointer) return v;
    return "(absent)";
  };
  for (const auto& [pointer, value] : a)
    if (!is_cosmetic(pointer, after) && value_in(b, pointer) != value)
      found.push_back(pointer + ": " + value + " -> " + value_in(b, pointer));
  for (const auto& [pointer, value] : b)
    if (!is_cosmetic(pointer, after) && value_in(a, pointer) == "(absent)")
      found.push_back(pointer + ": (absent) -> " + value);
  return found;
}

}  // namespace pan::config
