#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace pan::core {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what, const std::string& path, int code) {
  Error error(ErrorKind::kIo, what);
  error.where(path).got(std::generic_category().message(code));
  if (code == ENOSPC || code == EDQUOT) error.remedy("Free some space, or choose another folder");
  if (code == EACCES || code == EROFS) error.remedy("Check the permissions, or choose another folder");
  error.expected(code == ENOSPC || code == EDQUOT || code == EFBIG ? "free space"
                 : code == ENOENT                                  ? "an existing file or folder"
                                                                   : "a path that this user may write to");
  if (error.remedy_text().empty()) error.remedy("Check the path, or choose another one");
  throw error;
}

std::string parent_of(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

class RealWriter : public FileWriter {
 public:
  RealWriter(const std::string& path, int flags) : path_(path) {
    descriptor_ = ::open(path.c_str(), flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail("the file cannot be opened for writing", path, errno);
  }
  ~RealWriter() override {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  RealWriter(const RealWriter&) = delete;
  RealWriter& operator=(const RealWriter&) = delete;

  void write(const void* data, size_t size) override {
    constexpr size_t kLargest = size_t{1} << 30;  // Linux writes at most 2 GiB at once
    const char* at = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t written = ::write(descriptor_, at, std::min(size, kLargest));
      if (written < 0) {
        if (errno == EINTR) continue;
        fail("writing failed", path_, errno);
      }
      at += written;
      size -= static_cast<size_t>(written);
    }
  }

  void sync() override {
    if (::fsync(descriptor_) != 0) fail("the file could not be synced to disk", path_, errno);
  }

  void close() override {
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor >= 0 && ::close(descriptor) != 0) fail("closing the file failed", path_, errno);
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

class RealDisk : public Disk {
 public:
  std::unique_ptr<FileWriter> create(const std::string& path) override {
    return std::make_unique<RealWriter>(path, O_TRUNC);
  }
  std::unique_ptr<FileWriter> append(const std::string& path) override {
    return std::make_unique<RealWriter>(path, O_APPEND);
  }
  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) fail("renaming " + from + " failed", to, errno);
  }
  void sync_folder(const std::string& path) override {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) fail("the folder cannot be opened", path, errno);
    const int result = ::fsync(descriptor);
    const int code = errno;
    ::close(descriptor);
    // Some network file systems cannot sync a folder and say EINVAL; there the rename itself is all one can
    // have.
    if (result != 0 && code != EINVAL) fail("the folder could not be synced to disk", path, code);
  }
  void make_folders(const std::string& path) override {
    std::error_code code;
    fs::create_directories(path, code);
    if (code) fail("the folder cannot be made", path, code.value());
  }
  void remove_all(const std::string& path) override {
    std::error_code code;
    fs::remove_all(path, code);
    if (code) fail("removing failed", path, code.value());
  }
  void truncate(const std::string& path, uint64_t size) override {
    if (::truncate(path.c_str(), static_cast<off_t>(size)) != 0) fail("the file cannot be cut", path, errno);
    RealWriter(path, 0).sync();
  }
  void symlink(const std::string& target, const std::string& path) override {
    const std::string temporary = path + ".tmp";
    if (::unlink(temporary.c_str()) != 0 && errno != ENOENT)
      fail("a left-over link cannot be removed", temporary, errno);
    if (::symlink(target.c_str(), temporary.c_str()) != 0) fail("the link cannot be made", temporary, errno);
    rename(temporary, path);
  }
  uint64_t free_bytes(const std::string& path) override {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) fail("the free space cannot be found", path, errno);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }
};

Disk* replaced_disk = nullptr;

}  // namespace

Disk& disk() {
  static RealDisk real;
  return replaced_disk != nullptr ? *replaced_disk : real;
}
void set_disk(Disk* replacement) { replaced_disk = replacement; }

std::string read_file(const std::string& path) {
  PAN_CHECK(exists(path), kData, "the file does not exist")
      .where(path)
      .expected("a file")
      .got("nothing of that name")
      .remedy("Check the path");
  PAN_CHECK(!is_folder(path), kData, "a folder was given where a file is needed")
      .where(path)
      .expected("a file")
      .got("a folder")
      .remedy("Name a file in it");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("the file cannot be opened", path, errno);
  std::string bytes;
  struct stat info {};
  if (::fstat(descriptor, &info) == 0 && info.st_size > 0) bytes.reserve(static_cast<size_t>(info.st_size));
  std::vector<char> buffer(1 << 18);
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int code = errno;
      ::close(descriptor);
      fail("reading failed", path, code);
    }
    if (got == 0) break;
    bytes.append(buffer.data(), static_cast<size_t>(got));
  }
  ::close(descriptor);
  return bytes;
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string nearest_existing(const std::string& path) {
  fs::path folder = path;
  while (!folder.empty() && !exists(folder.string())) {
    if (folder == folder.parent_path()) break;
    folder = folder.parent_path();
  }
  return folder.empty() ? "." : folder.string();
}

void check_can_write(const std::string& path, const std::string& remedy) {
  const std::string folder = nearest_existing(path);
  int code = is_folder(folder) ? 0 : ENOTDIR;
  if (code == 0 && ::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0) code = errno;
  PAN_CHECK(code == 0, kIo, "nothing can be written here")
      .where(path)
      .expected("a place where this user may write")
      .got(folder + ": " + std::generic_category().message(code))
      .remedy(remedy);
}

uint64_t file_size(const std::string& path) {
  PAN_CHECK(exists(path), kData, "the file does not exist").where(path);
  std::error_code code;
  const auto size = fs::file_size(path, code);
  if (code) fail("the size of the file cannot be found", path, code.value());
  return size;
}

std::vector<std::string> list_folder(const std::string& path) {
  PAN_CHECK(exists(path), kData, "the folder does not exist").where(path);
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
    names.push_back(it->path().filename().string());
  }
  if (code) fail("the folder cannot be read", path, code.value());
  std::sort(names.begin(), names.end());
  return names;
}

void write_file_atomic(Disk& d, const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  const auto file = d.create(temporary);
  file->write(bytes.data(), bytes.size());
  file->sync();
  file->close();
  d.rename(temporary, path);
  d.sync_folder(parent_of(path));
}

FolderLock::FolderLock(const std::string& path) {
  const std::string file = path + "/.lock";
  descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail("the lock file cannot be opened", file, errno);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    char text[32] = {};
    const ssize_t got = ::pread(descriptor_, text, sizeof(text) - 1, 0);
    ::close(descriptor_);
    descriptor_ = -1;
    if (code != EWOULDBLOCK) fail("the lock cannot be taken", file, code);
    std::string holder = got > 0 ? std::string(text, static_cast<size_t>(got)) : "";
    while (!holder.empty() && holder.back() == '\n') holder.pop_back();
    throw Error(ErrorKind::kConfig, "another process uses this folder")
        .where(path)
        .got("process " + (holder.empty() ? "unknown" : holder))
        .remedy("Wait for it or stop it, or choose another folder");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, pid.data(), pid.size(), 0) < 0) {
    const int code = errno;
    ::close(descriptor_);
    descriptor_ = -1;
    fail("the lock file cannot be written", file, code);
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace pan::core
