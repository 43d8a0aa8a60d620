// TensorBoard event files, written by hand: TFRecord framing (8-byte length, masked CRC-32C of it, data,
// masked CRC-32C of the data, little endian) around protocol buffers Event { double wall_time = 1; int64 step
// = 2; string file_version = 3; Summary summary = 5 }, Summary { repeated Value value = 1 }, Value { string
// tag = 1; float simple_value = 2 }.
//
//   metrics::EventWriter board(core::disk(), run_dir + "/tensorboard");
//   board.write(step, metrics.values(), wall_time_s);
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/file.h"

namespace pan::metrics {

class EventWriter {
 public:
  // The event file of `folder` (made where it is missing). It has one name for the whole run, so that a
  // resume can cut it (metrics::cut_file) and go on. `now_s`: wall clock, seconds since 1970.
  EventWriter(core::Disk& disk, const std::string& folder, double now_s);

  static std::string path_in(const std::string& folder);

  // One event with all figures as scalars, handed to the operating system before it returns. Non-finite
  // figures are written as they are; TensorBoard marks them. Errors: kIo.
  void write(int64_t step, const std::map<std::string, double>& values, double wall_time_s);

  void sync();
  uint64_t size_bytes() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  void write_record(const std::string& data);
  core::Disk& disk_;
  std::string path_;
  std::unique_ptr<core::FileWriter> file_;
  uint64_t size_ = 0;
};

}  // namespace pan::metrics
