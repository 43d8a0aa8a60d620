#include "checkpoint/writer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "checkpoint/layout.h"
#include "checkpoint/manifest.h"
#include "checkpoint/reader.h"
#include "checkpoint/retention.h"
#include "checkpoint/state.h"
#include "core/error.h"
#include "core/log.h"

namespace pan::checkpoint {
namespace {

namespace fs = std::filesystem;

bool all_finite(const core::Json& json) {
  if (json.is_number_float()) return std::isfinite(json.get<double>());
  if (!json.is_structured()) return true;
  return std::all_of(json.begin(), json.end(), [](const core::Json& child) { return all_finite(child); });
}

void write_synced(core::Disk& disk, const std::string& path, const std::string& text) {
  const auto file = disk.create(path);
  file->write(text.data(), text.size());
  file->sync();
  file->close();
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

// Relative paths of all files below `folder`, sorted, and of all folders, innermost first.
struct Tree {
  std::vector<std::string> files, folders;
};
void walk(const std::string& folder, const std::string& prefix, Tree& tree) {
  for (const std::string& name : core::list_folder(folder + "/" + prefix)) {
    const std::string relative = prefix.empty() ? name : prefix + "/" + name;
    if (core::is_folder(folder + "/" + relative)) {
      walk(folder, relative, tree);
      tree.folders.push_back(relative);
    } else {
      tree.files.push_back(relative);
    }
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(const std::string& root, int64_t step, core::Disk& disk)
    : disk_(disk),
      root_(root),
      temporary_(root + "/" + internal::kTemporaryPrefix + step_name(step)),
      final_(root + "/" + step_name(step)),
      step_(step) {
  PAN_CHECK(step >= 0, kInternal, "a checkpoint needs a step that is not negative").got(std::to_string(step));
  if (!core::is_folder(root)) {
    disk_.make_folders(root);
    disk_.sync_folder(parent_of(root));
  }
  remove_leftovers(disk_, root_);
  disk_.make_folders(temporary_);
}

CheckpointWriter::~CheckpointWriter() {
  if (published_) return;
  try {
    disk_.remove_all(temporary_);
  } catch (...) {  // the next writer removes it
  }
}

std::string CheckpointWriter::make_folder(const std::string& relative) {
  disk_.make_folders(temporary_ + "/" + relative);
  return temporary_ + "/" + relative;
}

void CheckpointWriter::add_section(const std::string& name, int64_t version, const core::Json& state) {
  PAN_CHECK(!sections_.contains(name), kInternal, "a section was added twice").pointer(name);
  PAN_CHECK(version >= 1, kInternal, "versions of sections count from 1")
      .pointer(name)
      .got(std::to_string(version));
  PAN_CHECK(all_finite(state), kInternal, "a section holds a number that is not finite").pointer(name);
  core::Json section;
  section["version"] = version;
  section["state"] = state;
  try {
    sections_[name] = section.dump();  // strict about UTF-8
  } catch (const core::Json::exception& error) {
    throw core::Error(core::ErrorKind::kInternal, "a section holds text that is not UTF-8")
        .pointer(name)
        .got(error.what());
  }
}

void CheckpointWriter::expect_checksum(const std::string& relative, const std::string& crc32c) {
  expected_[relative] = crc32c;
}

void CheckpointWriter::set_metrics(const std::map<std::string, double>& metrics) {
  for (const auto& [key, value] : metrics) {
    if (std::isfinite(value)) metrics_[key] = value;
  }
}

void CheckpointWriter::write_sections() {
  std::string text = "{";
  for (const auto& [name, section] : sections_) {
    text += (text.size() > 1 ? ",\n" : "\n") + core::dump_json(core::Json(name)) + ": " + section;
  }
  write_synced(disk_, temporary_ + "/" + internal::kSectionsName, text + "\n}\n");
}

// Syncs everything and returns the manifest's text.
std::string CheckpointWriter::list_files() {
  Tree tree;
  walk(temporary_, "", tree);
  Manifest manifest{step_, metrics_, {}};
  for (const std::string& relative : tree.files) {
    const std::string path = temporary_ + "/" + relative;
    const auto file = disk_.append(path);  // whoever wrote it may not have synced it
    file->sync();
    file->close();
    manifest.files.push_back({relative, core::file_size(path), core::crc32c_of_file(path)});
    const auto expected = expected_.find(relative);
    PAN_CHECK(expected == expected_.end() || expected->second == manifest.files.back().crc32c, kIo,
              "a file does not hold what was written to it")
        .where(path)
        .expected("crc32c " + expected->second)
        .got(manifest.files.back().crc32c)
        .remedy("The disk is full or broken");
  }
  for (const auto& [relative, crc] : expected_) {
    PAN_CHECK(std::binary_search(tree.files.begin(), tree.files.end(), relative), kIo,
              "a file that was written is gone")
        .where(temporary_ + "/" + relative);
  }
  for (const std::string& relative : tree.folders) disk_.sync_folder(temporary_ + "/" + relative);
  return to_text(manifest);
}

void CheckpointWriter::move_into_place() {
  // A checkpoint of the same step (written again after a resume) steps aside first; readers count it until
  // the new one is in place.
  const std::string replaced = root_ + "/" + internal::kReplacedPrefix + step_name(step_);
  const bool replaces = core::exists(final_);
  if (replaces) {
    disk_.rename(final_, replaced);
    disk_.sync_folder(root_);
  }
  try {
    disk_.rename(temporary_, final_);
  } catch (const core::Error&) {
    if (replaces) disk_.rename(replaced, final_);
    throw;
  }
  published_ = true;
  disk_.sync_folder(root_);
}

std::string CheckpointWriter::publish(const CheckpointConfig& keep) {
  PAN_CHECK(!published_, kInternal, "a checkpoint was published twice").where(final_);
  write_sections();
  const std::string manifest = list_files();
  write_synced(disk_, temporary_ + "/" + kManifestName, manifest);
  disk_.sync_folder(temporary_);
  move_into_place();
  try {
    apply_retention(disk_, root_, keep);
  } catch (const core::Error& error) {
    core::log_warn("checkpoint " + final_ + " is written, but tidying up after it failed: " + error.what());
  }
  return final_;
}

void save_all(CheckpointWriter& writer, const std::vector<const Stateful*>& parts) {
  for (const Stateful* part : parts) {
    writer.add_section(part->section_name(), part->section_version(), part->save_state());
  }
}

void load_all(const Checkpoint& checkpoint, const std::vector<Stateful*>& parts) {
  for (Stateful* part : parts) {
    const std::string name = part->section_name();
    part->load_state(checkpoint.section(name, part->section_version()), checkpoint.section_version(name));
  }
}

}  // namespace pan::checkpoint
