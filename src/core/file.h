// Files that survive a crash, behind an interface that tests can break.
//
//   core::write_file_atomic(core::disk(), path, bytes);   // either the old content or the new one, never a
//   mixture
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pan::core {

// An open file that is being written. Destroying it without close() closes the descriptor and reports
// nothing.
class FileWriter {
 public:
  virtual ~FileWriter() = default;
  virtual void write(const void* data, size_t size) = 0;  // Error: kIo with path and reason
  virtual void sync() = 0;                                // data and metadata on the device
  virtual void close() = 0;
};

// What we need of a file system. Every method throws kIo errors with the path and the system's reason.
class Disk {
 public:
  virtual ~Disk() = default;
  virtual std::unique_ptr<FileWriter> create(const std::string& path) = 0;  // truncates
  virtual std::unique_ptr<FileWriter> append(const std::string& path) = 0;
  // Replaces `to` where both are files, or where `to` is an empty folder.
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void sync_folder(const std::string& path) = 0;
  virtual void make_folders(const std::string& path) = 0;
  virtual void remove_all(const std::string& path) = 0;
  virtual void truncate(const std::string& path, uint64_t size) = 0;
  virtual void symlink(const std::string& target, const std::string& path) = 0;  // replaces, atomically
  virtual uint64_t free_bytes(const std::string& path) = 0;
};

// The real one. `set_disk` replaces it in tests (null restores the real one).
Disk& disk();
void set_disk(Disk* replacement);

// Whole file as bytes. Errors: kData if it does not exist or is a folder, kIo otherwise.
std::string read_file(const std::string& path);
bool exists(const std::string& path);
bool is_folder(const std::string& path);
uint64_t file_size(const std::string& path);
std::vector<std::string> list_folder(const std::string& path);  // names, sorted

// `path`, or the nearest folder above it that exists.
std::string nearest_existing(const std::string& path);
// Error: kIo, with the system's reason, where nothing could be made in nearest_existing(path).
void check_can_write(const std::string& path, const std::string& remedy);

// Writes `bytes` to `path`.tmp, syncs it, renames it over `path`, syncs the folder (without which the rename
// may be lost).
void write_file_atomic(Disk& d, const std::string& path, std::string_view bytes);

// CRC-32C of a file or of bytes, as 8 hex digits; streaming form for large data.
class Crc32c {
 public:
  void update(const void* data, size_t size);
  uint32_t value() const { return ~state_; }
  std::string hex() const;

 private:
  uint32_t state_ = 0xFFFFFFFFu;
};
std::string crc32c_of_file(const std::string& path);
// The same without the processor's instruction: what Crc32c uses where there is none.
uint32_t crc32c_portable(const void* data, size_t size);

// SHA-256 of bytes as 64 hex digits (data sets and fingerprints).
std::string sha256(std::string_view bytes);

// Exclusive advisory lock on the folder `path` (which must exist), held for the object's life; the kernel
// drops it when the process dies, however it dies. The lock file `path`/.lock stays behind and names its last
// holder. Errors: kConfig "another process uses ..." with its pid; kIo when the lock file cannot be made.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace pan::core
