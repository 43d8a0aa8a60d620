// A disk that fails. It works on real files through core::disk()'s real implementation, and counts
// operations.
//
//   FaultDisk disk;
//   disk.fail_at(7, Fault::kError);           // operation 7 throws; the ones after it work
//   disk.fail_at(7, Fault::kShortWrite);      // if it is a write: half of the bytes arrive, then it throws
//   disk.fail_at(7, Fault::kCrash);           // throws Crash; nothing reaches the disk any more
//   disk.fill_under("tfevents");              // writes to such paths: ENOSPC after half of the bytes
//   disk.report_free(1000);                   // what free_bytes() says
//   disk.limit_bytes(1000);                   // writes beyond: ENOSPC until something is removed
//   disk.lose_unsynced(Loss::kData);          // after a crash: what a power cut does
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"

namespace pan::testing {

enum class Fault { kNone, kError, kShortWrite, kCrash };

// What is gone after a power cut. kNothing: the process was killed, the machine went on. kData: renames and
// new names survived, bytes that were not synced did not. kAll: also changes in folders that were not synced.
enum class Loss { kNothing, kData, kAll };

// Thrown at the crash and by every operation after it. Not a core::Error: nothing in the product may catch it
// and go on.
struct Crash {};

class FaultDisk : public core::Disk {
 public:
  FaultDisk();
  ~FaultDisk() override;

  void fail_at(int64_t operation, Fault fault);  // counted from 0
  void limit_bytes(int64_t bytes);
  void fill_under(const std::string& path_part) { full_ = path_part; }
  void report_free(uint64_t bytes) { free_ = bytes; }  // instead of what the file system says
  int64_t operations() const { return operations_; }
  void lose_unsynced(Loss loss);

  std::unique_ptr<core::FileWriter> create(const std::string& path) override;
  std::unique_ptr<core::FileWriter> append(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void sync_folder(const std::string& path) override;
  void make_folders(const std::string& path) override;
  void remove_all(const std::string& path) override;
  void truncate(const std::string& path, uint64_t size) override;
  void symlink(const std::string& target, const std::string& path) override;
  uint64_t free_bytes(const std::string& path) override;

 private:
  class Writer;
  struct Change {  // in a folder, not yet synced
    std::string folder;
    std::string path, from;  // rename: from -> path
    std::function<void(const Change&)> undo;
  };

  // Counts an operation and lets it fail; true where half of it shall happen before the error.
  bool step(const std::string& what, const std::string& path);
  void moved(const std::string& from, const std::string& to);

  int64_t operations_ = 0;
  int64_t fail_at_ = -1;
  Fault fault_ = Fault::kNone;
  bool crashed_ = false;
  int64_t bytes_left_ = INT64_MAX;
  std::optional<uint64_t> free_;
  std::string full_;
  std::map<std::string, uint64_t> synced_;  // bytes of a file that survive a power cut; absent: all of them
  std::vector<Change> changes_;
};

}  // namespace pan::testing
