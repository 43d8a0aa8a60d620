// The list of a checkpoint's files, written last: a folder with a valid manifest is a complete checkpoint.
//
// manifest.json: {"format": "pan-ppo checkpoint", "version": 1, "step": 12, "metrics": {"eval/accuracy":
// 0.4},
//   "files": [{"path": "policy/model.safetensors", "bytes": 1234, "crc32c": "0a1b2c3d"}, ...], "crc32c": "<of
//   all the above>"}
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pan::checkpoint {

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr int64_t kManifestVersion = 1;

struct ManifestFile {
  std::string path;  // relative to the checkpoint's folder, '/' between parts
  uint64_t bytes = 0;
  std::string crc32c;  // 8 hex digits
};

struct Manifest {
  int64_t step = 0;
  std::map<std::string, double> metrics;
  std::vector<ManifestFile> files;  // sorted by path, the manifest itself not among them
};

std::string to_text(const Manifest& manifest);

// Reads and checks the manifest of a folder: format, version, its own checksum, paths that stay inside.
// Errors: kData with the file's name.
Manifest read_manifest(const std::string& folder);

enum class Verify { kSizes, kChecksums };

// Every listed file is there with its size, and its CRC-32C where asked for. Error: kData with the file,
// expected and got.
void check_files(const std::string& folder, const Manifest& manifest, Verify verify);

}  // namespace pan::checkpoint
