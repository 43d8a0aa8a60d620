#include "metrics/jsonl.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"

namespace pan::metrics {

JsonlWriter::JsonlWriter(core::Disk& disk, const std::string& path) : disk_(disk), path_(path) {
  if (core::exists(path)) {
    const std::string text = core::read_file(path);
    size_ = text.rfind('\n') + 1;  // npos + 1 == 0: no whole line
    if (size_ != text.size()) {
      core::log_warn(path + ": the last line was never finished, " + std::to_string(text.size() - size_) +
                     " bytes cut off");
      disk_.truncate(path, size_);
    }
  }
  file_ = disk_.append(path);
}

void JsonlWriter::write(const core::Json& event) {
  const std::string line = core::dump_json(event) + "\n";
  try {
    file_->write(line.data(), line.size());
  } catch (const core::Error&) {
    try {
      disk_.truncate(path_, size_);  // half a line would join the next one
    } catch (const core::Error&) {   // the first error is the one to report
    }
    throw;
  }
  size_ += line.size();
}

void JsonlWriter::sync() { file_->sync(); }

void cut_file(core::Disk& disk, const std::string& path, uint64_t bytes) {
  if (!core::exists(path) && bytes == 0) return;
  const std::string wanted = "at least " + std::to_string(bytes) + " bytes";
  PAN_CHECK(core::exists(path), kData, "a log file of the run is gone")
      .where(path)
      .expected(wanted)
      .remedy("Put it back, or start a new run from the checkpoint");
  const uint64_t size = core::file_size(path);
  PAN_CHECK(size >= bytes, kData, "a log file of the run is shorter than at its checkpoint")
      .where(path)
      .expected(wanted)
      .got(std::to_string(size))
      .remedy("Put it back, or start a new run from the checkpoint");
  if (size > bytes) disk.truncate(path, bytes);
}

}  // namespace pan::metrics
