// JSON text to values with errors a person can act on. The library's full header is for .cpp files only.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pan::core {

using Json = nlohmann::ordered_json;

// Parses `text`; `source` is named in errors. Refused: comments (// and /* */) unless the dialect allows
// them, duplicate keys, text after the value, invalid UTF-8, numbers beyond a double, nesting deeper than
// 256. Errors: kData for kStrict, kConfig for kWithComments, with line and column. Linear in the size of the
// text, objects with many keys included (looking a key up in the result is linear in the keys of its object:
// iterate large ones).
enum class JsonDialect { kStrict, kWithComments };
Json parse_json(std::string_view text, const std::string& source, JsonDialect dialect = JsonDialect::kStrict);

// Reads and parses a whole file. Errors: kData (missing, not JSON); kConfig instead when dialect is
// kWithComments.
Json read_json_file(const std::string& path, JsonDialect dialect = JsonDialect::kStrict);

// Maps a JSON pointer ("/a/b/0") to the 1-based line of its value in `text`; 0 where it does not occur.
int line_of_pointer(std::string_view text, const std::string& pointer);

// Typed access with errors that name file and pointer: required("/x") of type T.
// T: int64_t (3.0 is accepted, 3.5 is not), double, bool, std::string. Errors: kData.
template <class T>
T get_required(const Json& json, const std::string& pointer, const std::string& source);
template <class T>
T get_or(const Json& json, const std::string& pointer, const std::string& source,
         T fallback);  // absent or null

// Compact text; non-finite numbers become null; invalid UTF-8 is replaced.
std::string dump_json(const Json& json, int indent = -1);

}  // namespace pan::core
