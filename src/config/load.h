// From a file and `--set` overrides to a checked configuration.
#pragma once

#include <string>
#include <vector>

#include "config/places.h"
#include "config/run_config.h"
#include "core/json.h"

namespace pan::config {

struct Loaded {
  RunConfig config;
  std::vector<std::string> notes;  // settings without effect, to be shown as warnings
  Places places;

  // Adds file and line to an error that names one of the settings, wherever it was found out.
  void add_places(core::Error& error) const;
};

// `path` may hold comments. Overrides are "a.b=value", value as JSON or else as text. One validation for
// both. Relative paths in a file mean what they mean to the shell: relative to the working folder. Errors:
// kConfig.
Loaded load_run(const std::string& path, const std::vector<std::string>& overrides);

// The same from a parsed tree (a resolved config.json of a run folder).
Loaded load_run_json(core::Json json, const std::string& source, const std::vector<std::string>& overrides,
                     const std::string& text = "");

// The text of a configuration file. Error: kConfig where there is none.
std::string config_text(const std::string& path);

// Every key with its present value, in declaration order.
core::Json resolved(const RunConfig& config);

// "/ppo/clip_low: 0.2 -> 0.3" for each key that differs and matters: settings that do not change what is
// computed (log output, checkpoint cadence, limits) are left out.
std::vector<std::string> differences(const RunConfig& before, const RunConfig& after);

}  // namespace pan::config
