// The shared memory of a block with a shadow of what happened to every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pan::simt {

class SharedMemory {
 public:
  void reset(size_t bytes, int threads);

  void read(int thread, size_t offset, void* to, size_t bytes, size_t alignment);
  void write(int thread, size_t offset, const void* from, size_t bytes, size_t alignment);

  // An asynchronous copy of 16 bytes (from null: zeros): reserved when it is issued, written when it lands.
  void begin_copy(int thread, size_t offset);
  void land_copy(int thread, size_t offset, const void* from);

  void block_barrier() { ++block_epoch_; }
  void warp_barrier(int warp) { ++warp_epoch_[static_cast<size_t>(warp)]; }

 private:
  static constexpr int32_t kNobody = -1, kSeveral = -2;
  // Who touched a byte, and when, counted in barriers.
  struct Touch {
    int32_t thread = kNobody;
    uint32_t block_epoch = 0;
    uint32_t warp_epoch = 0;
  };
  struct Byte {
    bool written = false;
    bool in_flight = false;
    Touch writer, reader;
  };

  void check_range(size_t offset, size_t bytes, size_t alignment, const char* what) const;
  // Whether a touch by somebody else may happen at the same time as what `thread` does now.
  bool concurrent(const Touch& touch, int thread) const;
  Touch now(int thread) const;
  [[noreturn]] void fail(const std::string& what, size_t offset) const;

  std::vector<uint8_t> data_;
  std::vector<Byte> shadow_;
  std::vector<uint32_t> warp_epoch_;
  uint32_t block_epoch_ = 1;
};

}  // namespace pan::simt
