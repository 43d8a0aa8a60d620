// A configuration of defaults with some keys set, as a file and --set would give it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "config/load.h"
#include "core/error.h"

namespace pan::config::testing {

using Words = std::vector<std::string>;

inline Loaded load(const Words& overrides) {
  return load_run_json(core::Json::object(), "the test", overrides);
}

inline Words notes(const Words& overrides) { return load(overrides).notes; }

// The message of the error that these settings give; "" where there is none.
inline std::string refusal(const Words& overrides) {
  try {
    load(overrides);
  } catch (const core::Error& error) {
    return error.kind() == core::ErrorKind::kConfig ? error.what() : "another kind of error";
  }
  return "";
}

}  // namespace pan::config::testing
