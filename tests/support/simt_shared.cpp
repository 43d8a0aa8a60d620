#include "support/simt_shared.h"

#include <cstring>

#include "support/simt.h"

namespace pan::simt {

void SharedMemory::reset(size_t bytes, int threads) {
  data_.assign(bytes, 0xcd);
  shadow_.assign(bytes, Byte());
  warp_epoch_.assign(static_cast<size_t>(threads + 31) / 32, 0);
  block_epoch_ = 1;
}

void SharedMemory::fail(const std::string& what, size_t offset) const {
  throw Error(what + " at byte " + std::to_string(offset) + " of " + std::to_string(data_.size()) +
              " bytes of shared memory");
}

void SharedMemory::check_range(size_t offset, size_t bytes, size_t alignment, const char* what) const {
  if (offset > data_.size() || bytes > data_.size() - offset)
    fail(std::string("out of bounds: ") + what, offset);
  if (offset % alignment != 0) fail(std::string("misaligned: ") + what, offset);
}

SharedMemory::Touch SharedMemory::now(int thread) const {
  return {thread, block_epoch_, warp_epoch_[static_cast<size_t>(thread / 32)]};
}

bool SharedMemory::concurrent(const Touch& touch, int thread) const {
  if (touch.thread == kNobody || touch.thread == thread || touch.block_epoch != block_epoch_) return false;
  if (touch.thread == kSeveral || touch.thread / 32 != thread / 32) return true;
  return touch.warp_epoch == warp_epoch_[static_cast<size_t>(thread / 32)];
}

void SharedMemory::read(int thread, size_t offset, void* to, size_t bytes, size_t alignment) {
  check_range(offset, bytes, alignment, "read");
  for (size_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = shadow_[i];
    if (byte.in_flight) fail("read while an asynchronous copy is on its way", i);
    if (!byte.written) fail("read before it was written", i);
    if (concurrent(byte.writer, thread))
      fail("race: read without a barrier after the write of thread " + std::to_string(byte.writer.thread), i);
    const bool others = concurrent(byte.reader, thread);
    byte.reader = now(thread);
    if (others) byte.reader.thread = kSeveral;
  }
  std::memcpy(to, data_.data() + offset, bytes);
}

void SharedMemory::write(int thread, size_t offset, const void* from, size_t bytes, size_t alignment) {
  check_range(offset, bytes, alignment, "write");
  for (size_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = shadow_[i];
    if (byte.in_flight) fail("write while an asynchronous copy is on its way", i);
    if (concurrent(byte.writer, thread))
      fail("race: write without a barrier after the write of thread " + std::to_string(byte.writer.thread),
           i);
    if (concurrent(byte.reader, thread)) fail("race: write without a barrier after a read", i);
    byte.written = true;
    byte.writer = now(thread);
  }
  std::memcpy(data_.data() + offset, from, bytes);
}

void SharedMemory::begin_copy(int thread, size_t offset) {
  check_range(offset, 16, 16, "asynchronous copy");
  for (size_t i = offset; i < offset + 16; ++i) {
    Byte& byte = shadow_[i];
    if (byte.in_flight) fail("asynchronous copy to where another one is on its way", i);
    if (concurrent(byte.writer, thread) || concurrent(byte.reader, thread))
      fail("race: asynchronous copy without a barrier after the last use", i);
    byte.in_flight = true;
  }
}

void SharedMemory::land_copy(int thread, size_t offset, const void* from) {
  for (size_t i = offset; i < offset + 16; ++i) {
    shadow_[i].in_flight = false;
    shadow_[i].written = true;
    shadow_[i].writer = now(thread);
  }
  if (from == nullptr) {
    std::memset(data_.data() + offset, 0, 16);
  } else {
    std::memcpy(data_.data() + offset, from, 16);
  }
}

}  // namespace pan::simt
