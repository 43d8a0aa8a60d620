#include "experiment/provenance.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace pan::experiment {
namespace {

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

std::string model_checksum(const std::string& folder) {
  PAN_CHECK(core::is_folder(folder), kData, "there is no such model folder")
      .where(folder)
      .pointer("/model/path")
      .expected("a Hugging Face folder: config.json, *.safetensors, tokenizer.json or tokenizer.model")
      .got(core::exists(folder) ? "a file" : "nothing of that name")
      .remedy(
          "Set model.path, e.g. --set set.model.path=DIR; a relative path counts from the working folder");
  std::string lines;
  bool has_weights = false;
  for (const std::string& name : core::list_folder(folder)) {
    const bool is_weights = ends_with(name, ".safetensors");
    if (!is_weights && !ends_with(name, ".json") && !ends_with(name, ".model") && !ends_with(name, ".jinja"))
      continue;
    const std::string path = folder + "/" + name;
    if (core::is_folder(path)) continue;
    has_weights = has_weights || is_weights;
    lines += name + " " + std::to_string(core::file_size(path)) + " " + core::crc32c_of_file(path) + "\n";
  }
  PAN_CHECK(has_weights, kData, "the model folder holds no weights")
      .where(folder)
      .expected("*.safetensors")
      .got("none")
      .remedy("Fetch the model again, or set model.path");
  return core::sha256(lines).substr(0, 16);
}

void write_origin(const std::string& path, const Origin& origin) {
  const core::Json json = {{"programs", origin.programs}, {"models", origin.models}};
  core::write_file_atomic(core::disk(), path, core::dump_json(json, 2) + "\n");
}

Origin read_origin(const std::string& path) {
  if (!core::exists(path)) return {};
  const core::Json json = core::read_json_file(path);
  PAN_CHECK(json.contains("programs") && json["programs"].is_array() && json.contains("models") &&
                json["models"].is_object(),
            kData, "the record of a run's origin is damaged")
      .where(path)
      .expected("a list `programs` and an object `models`")
      .got(core::dump_json(json))
      .remedy("Remove the file: the run is then taken for one of the present model and program");
  Origin origin;
  origin.programs = json["programs"].get<std::vector<std::string>>();
  origin.models = json["models"].get<std::map<std::string, std::string>>();
  return origin;
}

}  // namespace pan::experiment
