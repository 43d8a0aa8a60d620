#include "support/fault_disk.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/error.h"
#include "support/support.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

core::Disk& real() {
  core::set_disk(nullptr);
  return core::disk();
}

std::string parent_of(const std::string& path) { return fs::path(path).parent_path().string(); }

// `path` after the rename of `from` (itself, or a folder above it) to `to`.
std::string renamed(const std::string& path, const std::string& from, const std::string& to) {
  if (path == from) return to;
  return path.starts_with(from + "/") ? to + path.substr(from.size()) : path;
}

}  // namespace

class FaultDisk::Writer : public core::FileWriter {
 public:
  Writer(FaultDisk& disk, std::string path, std::unique_ptr<core::FileWriter> file)
      : disk_(disk), path_(std::move(path)), file_(std::move(file)) {}

  void write(const void* data, size_t size) override {
    const bool half = disk_.step("write", path_);
    if (half) size /= 2;
    size_t room = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(size), disk_.bytes_left_));
    if (!disk_.full_.empty() && path_.find(disk_.full_) != std::string::npos) room = size / 2;
    disk_.synced_.try_emplace(path_, core::file_size(path_));
    file_->write(data, room);
    disk_.bytes_left_ -= static_cast<int64_t>(room);
    if (half) throw core::Error(core::ErrorKind::kIo, "short write (injected)").where(path_);
    if (room < size)
      throw core::Error(core::ErrorKind::kIo, "No space left on device (injected)").where(path_);
  }
  void sync() override {
    disk_.step("sync", path_);
    disk_.synced_.erase(path_);
  }
  void close() override {
    disk_.step("close", path_);
    file_->close();
  }

 private:
  FaultDisk& disk_;
  std::string path_;
  std::unique_ptr<core::FileWriter> file_;
};

FaultDisk::FaultDisk() { core::set_disk(this); }
FaultDisk::~FaultDisk() { core::set_disk(nullptr); }

void FaultDisk::fail_at(int64_t operation, Fault fault) {
  fail_at_ = operation;
  fault_ = fault;
}
void FaultDisk::limit_bytes(int64_t bytes) { bytes_left_ = bytes; }

bool FaultDisk::step(const std::string& what, const std::string& path) {
  if (crashed_) throw Crash{};
  if (operations_++ != fail_at_) return false;
  switch (fault_) {
    case Fault::kNone:
      return false;
    case Fault::kCrash:
      crashed_ = true;
      throw Crash{};
    case Fault::kShortWrite:
      if (what == "write") return true;
      [[fallthrough]];
    case Fault::kError:
      throw core::Error(core::ErrorKind::kIo, what + " failed (injected)").where(path);
  }
  return false;
}

std::unique_ptr<core::FileWriter> FaultDisk::create(const std::string& path) {
  step("create", path);
  const bool is_new = !core::exists(path);
  auto file = real().create(path);
  core::set_disk(this);
  if (is_new) {
    changes_.push_back({parent_of(path), path, "", [](const Change& c) { fs::remove_all(c.path); }});
  }
  synced_[path] = 0;  // an old content is gone at once, a new one not there yet
  return std::make_unique<Writer>(*this, path, std::move(file));
}

std::unique_ptr<core::FileWriter> FaultDisk::append(const std::string& path) {
  step("append", path);
  if (!core::exists(path)) {
    changes_.push_back({parent_of(path), path, "", [](const Change& c) { fs::remove_all(c.path); }});
  }
  auto file = real().append(path);
  core::set_disk(this);
  return std::make_unique<Writer>(*this, path, std::move(file));
}

void FaultDisk::moved(const std::string& from, const std::string& to) {
  std::map<std::string, uint64_t> synced;
  for (const auto& [path, size] : synced_) synced[renamed(path, from, to)] = size;
  synced_ = std::move(synced);
  for (Change& change : changes_) {
    change.path = renamed(change.path, from, to);
    change.from = renamed(change.from, from, to);
    change.folder = renamed(change.folder, from, to);
  }
}

void FaultDisk::rename(const std::string& from, const std::string& to) {
  step("rename", to);
  std::optional<std::string> replaced;
  if (fs::is_regular_file(to)) replaced = read_text(to);
  real().rename(from, to);
  core::set_disk(this);
  synced_.erase(to);
  moved(from, to);
  changes_.push_back({parent_of(to), to, from, [replaced](const Change& c) {
                        fs::rename(c.path, c.from);
                        if (replaced) write_text(c.path, *replaced);
                      }});
}

void FaultDisk::sync_folder(const std::string& path) {
  step("sync_folder", path);
  std::erase_if(changes_, [&](const Change& c) { return c.folder == path; });
}

void FaultDisk::make_folders(const std::string& path) {
  step("make_folders", path);
  std::string missing;
  for (std::string p = path; !core::exists(p); p = parent_of(p)) missing = p;
  real().make_folders(path);
  core::set_disk(this);
  if (!missing.empty()) {
    changes_.push_back({parent_of(missing), missing, "", [](const Change& c) { fs::remove_all(c.path); }});
  }
}

// Removals count as durable at once, half-way ones included: the worst that can happen.
void FaultDisk::remove_all(const std::string& path) {
  const bool crash_now = operations_ == fail_at_ && fault_ == Fault::kCrash && !crashed_;
  if (crash_now && fs::is_directory(path)) {
    for (const auto& entry : fs::directory_iterator(path)) {  // the first file only
      fs::remove_all(entry.path());
      break;
    }
  }
  step("remove_all", path);
  real().remove_all(path);
  core::set_disk(this);
  std::erase_if(changes_, [&](const Change& c) { return c.path == path || c.path.starts_with(path + "/"); });
  std::erase_if(synced_, [&](const auto& s) { return s.first == path || s.first.starts_with(path + "/"); });
  if (bytes_left_ != INT64_MAX) bytes_left_ = std::max<int64_t>(bytes_left_, 0);
}

void FaultDisk::truncate(const std::string& path, uint64_t size) {
  step("truncate", path);
  real().truncate(path, size);
  core::set_disk(this);
  synced_.erase(path);
}

void FaultDisk::symlink(const std::string& target, const std::string& path) {
  step("symlink", path);
  std::optional<fs::path> before;
  if (fs::is_symlink(path)) before = fs::read_symlink(path);
  real().symlink(target, path);
  core::set_disk(this);
  changes_.push_back({parent_of(path), path, "", [before](const Change& c) {
                        fs::remove(c.path);
                        if (before) fs::create_symlink(*before, c.path);
                      }});
}

uint64_t FaultDisk::free_bytes(const std::string& path) {
  if (free_) return *free_;
  const uint64_t free = real().free_bytes(path);
  core::set_disk(this);
  return free;
}

void FaultDisk::lose_unsynced(Loss loss) {
  if (loss == Loss::kNothing) return;
  for (const auto& [path, size] : synced_) {
    if (fs::exists(path) && fs::file_size(path) > size) fs::resize_file(path, size);
  }
  synced_.clear();
  if (loss == Loss::kAll) {
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) change->undo(*change);
  }
  changes_.clear();
}

}  // namespace pan::testing
