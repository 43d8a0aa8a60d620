// JSON Lines files, one object a line, with errors that name file and line.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace pan::tasks {

// Calls `row` with every object and its 1-based line number; blank lines are skipped. `remedy` is added to
// the error for a file that does not exist. Errors: kData (missing or empty file, not JSON, not an object);
// errors thrown by `row` pass through.
void read_jsonl(const std::string& path, const std::string& remedy,
                const std::function<void(const nlohmann::ordered_json&, int64_t)>& row);

// Text of a key of a row; a number is taken as its JSON text. Error: kData with file, line and key.
std::string text_of(const nlohmann::ordered_json& row, const std::string& key, const std::string& path,
                    int64_t line);

}  // namespace pan::tasks
