// A file of JSON lines that grows by one event at a time and survives a crash up to the last whole line.
//
//   metrics::JsonlWriter log(core::disk(), run_dir + "/metrics.jsonl");
//   log.write({{"step", 3}, {"actor/lr", 1e-6}});
//   checkpoint: state["metrics_bytes"] = log.size_bytes();
//   resume:     metrics::cut_file(core::disk(), path, bytes);   // before the writer is opened
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/file.h"
#include "core/json.h"

namespace pan::metrics {

class JsonlWriter {
 public:
  // Appends to `path`, made where it is missing. A last line without its end (the process died while writing
  // it) is cut off with a warning. Errors: kIo.
  JsonlWriter(core::Disk& disk, const std::string& path);

  // One line, handed to the operating system before it returns. Non-finite numbers become null.
  // Errors: kIo; the file then holds what it held before the call, as far as the disk lets us.
  void write(const core::Json& event);

  void sync();  // on the device: before a checkpoint records size_bytes()
  uint64_t size_bytes() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  core::Disk& disk_;
  std::string path_;
  std::unique_ptr<core::FileWriter> file_;
  uint64_t size_ = 0;
};

// Cuts a log file back to the length a checkpoint recorded, so that a resumed run repeats no line. 0 bytes
// and no file: nothing to do. Errors: kData when the file is missing or shorter than that (lines of before
// the checkpoint are lost).
void cut_file(core::Disk& disk, const std::string& path, uint64_t bytes);

}  // namespace pan::metrics
