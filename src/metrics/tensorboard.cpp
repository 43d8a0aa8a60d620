#include "metrics/tensorboard.h"

#include <bit>

#include "core/error.h"
#include "core/log.h"

namespace pan::metrics {
namespace {

void put_fixed32(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>((value >> shift) & 0xFF);
}
void put_fixed64(std::string& out, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>((value >> shift) & 0xFF);
}
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

// Wire types of protocol buffers: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
void put_tag(std::string& out, uint32_t field, uint32_t wire_type) {
  put_varint(out, field << 3 | wire_type);
}
void put_bytes(std::string& out, uint32_t field, const std::string& bytes) {
  put_tag(out, field, 2);
  put_varint(out, bytes.size());
  out += bytes;
}
void put_double(std::string& out, uint32_t field, double value) {
  put_tag(out, field, 1);
  put_fixed64(out, std::bit_cast<uint64_t>(value));
}
void put_float(std::string& out, uint32_t field, float value) {
  put_tag(out, field, 5);
  put_fixed32(out, std::bit_cast<uint32_t>(value));
}

// Masked so that a checksum stored inside checksummed data does no harm.
uint32_t masked_crc(const std::string& bytes) {
  core::Crc32c crc;
  crc.update(bytes.data(), bytes.size());
  return ((crc.value() >> 15) | (crc.value() << 17)) + 0xa282ead8u;
}

uint64_t fixed64_at(const std::string& text, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i)
    value |= static_cast<uint64_t>(static_cast<unsigned char>(text[at + i])) << (8 * i);
  return value;
}

constexpr size_t kFrameBytes = 16;  // length, its checksum, checksum of the data

// Length of the whole records at the start of an event file.
uint64_t whole_records(const std::string& text) {
  size_t at = 0;
  while (text.size() - at >= kFrameBytes) {
    const uint64_t length = fixed64_at(text, at);
    if (length > text.size() - at - kFrameBytes) break;
    at += kFrameBytes + length;
  }
  return at;
}

}  // namespace

std::string EventWriter::path_in(const std::string& folder) {
  return folder + "/events.out.tfevents.pan-ppo";
}

EventWriter::EventWriter(core::Disk& disk, const std::string& folder, double now_s)
    : disk_(disk), path_(path_in(folder)) {
  disk_.make_folders(folder);
  if (core::exists(path_)) {
    const std::string text = core::read_file(path_);
    size_ = whole_records(text);
    if (size_ != text.size()) {
      core::log_warn(path_ + ": the last event was never finished, " + std::to_string(text.size() - size_) +
                     " bytes cut off");
      disk_.truncate(path_, size_);
    }
  }
  file_ = disk_.append(path_);
  if (size_ == 0) {
    std::string event;
    put_double(event, 1, now_s);
    put_bytes(event, 3, "brain.Event:2");
    write_record(event);
  }
}

void EventWriter::write(int64_t step, const std::map<std::string, double>& values, double wall_time_s) {
  std::string summary;
  for (const auto& [key, value] : values) {
    std::string entry;
    put_bytes(entry, 1, key);
    put_float(entry, 2, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  std::string event;
  put_double(event, 1, wall_time_s);
  if (step != 0) {  // as in proto3, where a default is not written
    put_tag(event, 2, 0);
    put_varint(event, static_cast<uint64_t>(step));
  }
  put_bytes(event, 5, summary);
  write_record(event);
}

void EventWriter::write_record(const std::string& data) {
  std::string record;
  put_fixed64(record, data.size());
  put_fixed32(record, masked_crc(record));
  record += data;
  put_fixed32(record, masked_crc(data));
  try {
    file_->write(record.data(), record.size());
  } catch (const core::Error&) {
    try {
      disk_.truncate(path_, size_);  // nothing after half a record could be read
    } catch (const core::Error&) {   // the first error is the one to report
    }
    throw;
  }
  size_ += record.size();
}

void EventWriter::sync() { file_->sync(); }

}  // namespace pan::metrics
