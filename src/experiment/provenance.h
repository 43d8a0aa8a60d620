// Which weights and which program made a result.
//
//   const std::string id = model_checksum("data/quickstart");   // changes with any weight
#pragma once

#include <map>
#include <string>
#include <vector>

namespace pan::experiment {

// 16 hex digits over names, sizes and CRC-32C of the files in a Hugging Face folder that decide what the
// model does: weights, config.json and the tokenizer's. Errors: kData where there is no such folder or no
// weights in it.
std::string model_checksum(const std::string& folder);

// What a run was begun with; a file beside the runs, written before the first iteration.
struct Origin {
  std::vector<std::string> programs;          // that began it or went on with it, each once
  std::map<std::string, std::string> models;  // folder -> model_checksum()

  bool operator==(const Origin&) const = default;
};
void write_origin(const std::string& path, const Origin& origin);
// Errors: kData. A file that does not exist: nothing in it.
Origin read_origin(const std::string& path);

}  // namespace pan::experiment
