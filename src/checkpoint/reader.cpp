#include "checkpoint/reader.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/layout.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

namespace pan::checkpoint {
namespace {

namespace fs = std::filesystem;

std::string steps_text(const std::vector<Found>& found) {
  std::string text;
  for (const Found& f : found) {
    text += (text.empty() ? "" : ", ") + std::to_string(f.step) +
            (f.complete() ? "" : " (incomplete: " + f.problem + ")");
  }
  return text.empty() ? "none" : text;
}

}  // namespace

std::string step_name(int64_t step) {
  char text[32];
  std::snprintf(text, sizeof(text), "step_%06lld", static_cast<long long>(step));
  return text;
}

namespace internal {

std::optional<int64_t> step_of_name(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [at, code] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (code != std::errc() || at != end || step < 0 || step_name(step) != name) return std::nullopt;
  return step;
}

}  // namespace internal

Checkpoint::Checkpoint(const std::string& folder, Verify verify) : folder_(folder) {
  while (folder_.size() > 1 && folder_.back() == '/') folder_.pop_back();
  PAN_CHECK(core::is_folder(folder_), kData, "there is no such checkpoint")
      .where(folder_)
      .expected("a folder")
      .got("nothing of that name")
      .remedy("checkpoints/ of the run folder has the ones there are");
  // A link may point elsewhere by the time a file is opened.
  if (fs::is_symlink(folder_))
    folder_ = (fs::path(folder_).parent_path() / fs::read_symlink(folder_)).string();
  PAN_CHECK(core::exists(folder_ + "/" + kManifestName), kData, "this folder is not a complete checkpoint")
      .where(folder_)
      .expected(kManifestName)
      .got("none")
      .remedy("It was being written when its run died; take an older one (checkpoints/latest)");
  manifest_ = read_manifest(folder_);
  check_files(folder_, manifest_, verify);
  core::Json sections = core::Json::object();
  if (has_file(internal::kSectionsName)) {
    const std::string path = file(internal::kSectionsName);
    sections = core::read_json_file(path);
    for (const auto& [name, section] : sections.items()) {
      PAN_CHECK(section.is_object() && section.contains("state"), kData, "a section is damaged")
          .where(path)
          .pointer("/" + name)
          .expected("an object with version and state")
          .got("something else")
          .remedy("Restore the checkpoint from a copy, or delete it to go on from an older one");
      core::get_required<int64_t>(section, "/version", path);
    }
  }
  sections_ = std::make_shared<const core::Json>(std::move(sections));
}

uint64_t Checkpoint::size_bytes() const {
  uint64_t bytes = 0;
  for (const ManifestFile& f : manifest_.files) bytes += f.bytes;
  return bytes;
}

bool Checkpoint::has_section(const std::string& name) const { return sections_->contains(name); }

int64_t Checkpoint::section_version(const std::string& name) const {
  PAN_CHECK(has_section(name), kData, "the checkpoint lacks a section")
      .where(folder_)
      .pointer(name)
      .expected("a section of that name")
      .got("none")
      .remedy("It was written by another kind of run, or by an older program");
  return sections_->at(name)["version"].get<int64_t>();
}

core::Json Checkpoint::section(const std::string& name, int64_t max_version) const {
  const int64_t version = section_version(name);
  PAN_CHECK(version >= 1 && version <= max_version, kData,
            "a section of the checkpoint is of another version")
      .where(folder_)
      .pointer(name)
      .expected("1 to " + std::to_string(max_version))
      .got(std::to_string(version))
      .remedy("Use the program that wrote it");
  return sections_->at(name)["state"];
}

bool Checkpoint::has_file(const std::string& relative) const {
  return std::any_of(manifest_.files.begin(), manifest_.files.end(),
                     [&](const auto& f) { return f.path == relative; });
}

bool Checkpoint::has_folder(const std::string& relative) const {
  return std::any_of(manifest_.files.begin(), manifest_.files.end(),
                     [&](const auto& f) { return f.path.starts_with(relative + "/"); });
}

std::string Checkpoint::file(const std::string& relative) const {
  PAN_CHECK(has_file(relative) || has_folder(relative), kData, "the checkpoint lacks a file")
      .where(folder_)
      .expected(relative)
      .got("none of that name")
      .remedy("Restore the checkpoint from a copy, or delete it to go on from an older one");
  return folder_ + "/" + relative;
}

std::vector<Found> list_checkpoints(const std::string& root) {
  std::vector<Found> found;
  if (!core::is_folder(root)) return found;
  for (const std::string& name : core::list_folder(root)) {
    auto step = internal::step_of_name(name);
    // A checkpoint that was being replaced by another of its step when the process died.
    if (!step && name.starts_with(internal::kReplacedPrefix)) {
      step = internal::step_of_name(name.substr(std::string_view(internal::kReplacedPrefix).size()));
      if (step && core::exists(root + "/" + step_name(*step))) step.reset();
    }
    if (!step) continue;
    Found f{*step, root + "/" + name, "", {}};
    try {
      const Checkpoint opened(f.folder);
      f.metrics = opened.metrics();
      if (opened.step() != *step) f.problem = "its manifest is of step " + std::to_string(opened.step());
    } catch (const core::Error& error) {
      f.problem = error.what();
    }
    found.push_back(std::move(f));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.step < b.step; });
  return found;
}

std::optional<Checkpoint> find_latest(const std::string& root, Verify verify) {
  std::vector<Found> found = list_checkpoints(root);
  for (; !found.empty(); found.pop_back()) {
    Found& newest = found.back();
    if (newest.complete()) {
      try {
        return Checkpoint(newest.folder, verify);
      } catch (const core::Error& error) {
        if (error.kind() != core::ErrorKind::kData) throw;
        newest.problem = error.what();
      }
    }
    core::log_warn("checkpoint " + newest.folder + " is ignored: " + newest.problem);
  }
  return std::nullopt;
}

std::optional<Checkpoint> find_to_resume(const std::string& root) {
  std::optional<Checkpoint> latest = find_latest(root, Verify::kChecksums);
  if (latest) return latest;
  const std::vector<Found> found = list_checkpoints(root);
  PAN_CHECK(found.empty(), kData, "every checkpoint of the run is damaged")
      .where(root)
      .expected("one complete checkpoint")
      .got(steps_text(found))
      .remedy("Restore one of them from a copy, or train a new run in another folder");
  return std::nullopt;
}

Checkpoint open_latest(const std::string& root, Verify verify) {
  std::optional<Checkpoint> latest = find_latest(root, verify);
  PAN_CHECK(latest.has_value(), kData, "there is no complete checkpoint")
      .where(root)
      .expected("step_NNNNNN with a manifest.json")
      .got(steps_text(list_checkpoints(root)))
      .remedy("Resume the run first, or give another folder");
  return *std::move(latest);
}

bool is_checkpoint_path(const std::string& path) {
  if (core::exists(path + "/" + kManifestName)) return true;
  return !list_checkpoints(path).empty() || core::is_folder(path + "/" + internal::kRootName);
}

Checkpoint open_any(const std::string& path, Verify verify) {
  if (core::exists(path + "/" + kManifestName)) return Checkpoint(path, verify);
  if (core::is_folder(path + "/" + internal::kRootName))
    return open_latest(path + "/" + internal::kRootName, verify);
  if (!list_checkpoints(path).empty()) return open_latest(path, verify);
  throw core::Error(core::ErrorKind::kData, "there is no checkpoint here")
      .where(path)
      .expected("a checkpoint, a folder of checkpoints or a run folder")
      .got("none of them")
      .remedy("Give a run folder or one of its checkpoints/step_NNNNNN");
}

Checkpoint open_step(const std::string& root, int64_t step, Verify verify) {
  const std::vector<Found> found = list_checkpoints(root);
  for (const Found& f : found) {
    if (f.step == step && f.complete()) return Checkpoint(f.folder, verify);
  }
  throw core::Error(core::ErrorKind::kData, "there is no complete checkpoint of this step")
      .where(root)
      .expected("step " + std::to_string(step))
      .got(steps_text(found))
      .remedy("Take one of those");
}

}  // namespace pan::checkpoint
