#include "checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace pan::checkpoint {
namespace {

constexpr const char* kDamaged =
    "Restore the checkpoint from a copy, or delete it to go on from an older one";
constexpr const char* kFormat = "pan-ppo checkpoint";

std::string checksum_of(const std::string& text) {
  core::Crc32c crc;
  crc.update(text.data(), text.size());
  return crc.hex();
}

// Neither absolute nor with ".." in it.
bool stays_inside(const std::string& path) {
  if (path.empty() || path.front() == '/') return false;
  return ("/" + path + "/").find("/../") == std::string::npos;
}

}  // namespace

std::string to_text(const Manifest& manifest) {
  core::Json json;
  json["format"] = kFormat;
  json["version"] = kManifestVersion;
  json["step"] = manifest.step;
  json["metrics"] = core::Json::object();
  for (const auto& [key, value] : manifest.metrics) json["metrics"][key] = value;
  json["files"] = core::Json::array();
  for (const ManifestFile& file : manifest.files) {
    json["files"].push_back({{"path", file.path}, {"bytes", file.bytes}, {"crc32c", file.crc32c}});
  }
  json["crc32c"] = checksum_of(core::dump_json(json));
  return core::dump_json(json, 1) + "\n";
}

Manifest read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifestName;
  core::Json json = core::read_json_file(path);
  PAN_CHECK(json.is_object() && core::get_or<std::string>(json, "/format", path, "") == kFormat, kData,
            "this is not the manifest of a checkpoint")
      .where(path);
  const int64_t version = core::get_required<int64_t>(json, "/version", path);
  PAN_CHECK(version == kManifestVersion, kData, "the checkpoint has a format that this program does not know")
      .where(path)
      .expected("version " + std::to_string(kManifestVersion))
      .got(std::to_string(version))
      .remedy("Use the program that wrote it");
  const std::string stored = core::get_required<std::string>(json, "/crc32c", path);
  json.erase("crc32c");
  const std::string computed = checksum_of(core::dump_json(json));
  PAN_CHECK(stored == computed, kData, "the manifest is damaged")
      .where(path)
      .expected("crc32c " + stored)
      .got("crc32c " + computed)
      .remedy(kDamaged);

  Manifest manifest;
  manifest.step = core::get_required<int64_t>(json, "/step", path);
  PAN_CHECK(json.contains("metrics") && json["metrics"].is_object() && json.contains("files") &&
                json["files"].is_array(),
            kData, "the manifest is damaged")
      .where(path)
      .expected("metrics and files");
  for (const auto& [key, value] : json["metrics"].items()) {
    if (value.is_number()) manifest.metrics[key] = value.get<double>();
  }
  for (size_t i = 0; i < json["files"].size(); ++i) {
    const std::string at = "/files/" + std::to_string(i);
    const int64_t bytes = core::get_required<int64_t>(json, at + "/bytes", path);
    manifest.files.push_back({core::get_required<std::string>(json, at + "/path", path),
                              static_cast<uint64_t>(bytes),
                              core::get_required<std::string>(json, at + "/crc32c", path)});
    PAN_CHECK(bytes >= 0 && stays_inside(manifest.files.back().path), kData,
              "the manifest names an impossible file")
        .where(path)
        .pointer(at);
  }
  return manifest;
}

void check_files(const std::string& folder, const Manifest& manifest, Verify verify) {
  for (const ManifestFile& file : manifest.files) {
    const std::string path = folder + "/" + file.path;
    PAN_CHECK(core::exists(path), kData, "a file of the checkpoint is missing")
        .where(path)
        .expected(std::to_string(file.bytes) + " bytes")
        .got("no file")
        .remedy(kDamaged);
    const uint64_t bytes = core::file_size(path);
    PAN_CHECK(bytes == file.bytes, kData, "a file of the checkpoint has the wrong size")
        .where(path)
        .expected(std::to_string(file.bytes) + " bytes")
        .got(std::to_string(bytes) + " bytes")
        .remedy(kDamaged);
    if (verify != Verify::kChecksums) continue;
    const std::string crc = core::crc32c_of_file(path);
    PAN_CHECK(crc == file.crc32c, kData, "a file of the checkpoint is damaged")
        .where(path)
        .expected("crc32c " + file.crc32c)
        .got("crc32c " + crc)
        .remedy(kDamaged);
  }
}

}  // namespace pan::checkpoint
