// JSON text to values with errors a person can act on. The library's full header is for .cpp files only.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pan::core {

using Json = nlohmann::ordered_json;

// Parses `text`; `source` is named in errors. Comments (// and /* */) only where `comments` is set; duplicate keys are
// refused. Errors: `kind` (kConfig for configuration, kData for data), with line and column.
enum class JsonDialect { kStrict, kWithComments };
Json parse_json(std::string_view text, const std::string& source, JsonDialect dialect = JsonDialect::kStrict);

// Reads and parses a whole file. Errors: kData (missing, not JSON); kConfig instead when dialect is kWithComments.
Json read_json_file(const std::string& path, JsonDialect dialect = JsonDialect::kStrict);

// Maps a JSON pointer ("/a/b/0") to the 1-based line of its value in `text`; 0 where it does not occur.
int line_of_pointer(std::string_view text, const std::string& pointer);

// Typed access with errors that name file and pointer: required("/x") of type T.
// T: int64_t, double, bool, std::string.
template <class T>
T get_required(const Json& json, const std::string& pointer, const std::string& source);
template <class T>
T get_or(const Json& json, const std::string& pointer, const std::string& source, T fallback);  // absent or null

// Compact text; non-finite numbers become null; invalid UTF-8 is replaced.
std::string dump_json(const Json& json, int indent = -1);

}  // namespace pan::core
