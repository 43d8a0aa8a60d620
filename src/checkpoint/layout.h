// Names inside a folder of checkpoints. Hidden names are never taken for checkpoints (but see
// kReplacedPrefix).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pan::checkpoint::internal {

inline constexpr const char* kSectionsName = "state.json";  // {"<name>": {"version": 1, "state": ...}, ...}
inline constexpr const char* kTemporaryPrefix = ".tmp-";    // being written
inline constexpr const char* kDeletedPrefix =
    ".deleted-";  // being removed: a half-removed one must not look whole
inline constexpr const char* kReplacedPrefix =
    ".replaced-";  // still counts while no step_NNNNNN of its number exists
inline constexpr const char* kRootName = "checkpoints";  // in a run folder
inline constexpr const char* kLatestLink = "latest";
inline constexpr const char* kBestLink = "best";

// 12 for "step_000012"; nothing for any other name.
std::optional<int64_t> step_of_name(const std::string& name);

}  // namespace pan::checkpoint::internal
