#include "support/simt.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/cuda/device/intrinsics.h"
#include "support/simt_fiber.h"
#include "support/simt_shared.h"

namespace pan::simt {
namespace {

namespace emulated = kernels::device::emulated;

// ---- warp operations ----

enum class Operation { kSyncWarp, kShuffleXor, kShuffle, kVote, kLoadMatrix, kMma };

const char* name_of(Operation operation) {
  switch (operation) {
    case Operation::kSyncWarp:
      return "warp barrier";
    case Operation::kShuffleXor:
    case Operation::kShuffle:
      return "shuffle";
    case Operation::kVote:
      return "vote";
    case Operation::kLoadMatrix:
      return "matrix load";
    case Operation::kMma:
      return "matrix product";
  }
  return "?";
}

// What a lane brings to an operation and takes from it.
struct Arguments {
  Operation operation;
  uint32_t mask;
  uint32_t value = 0;  // shuffle: in and out; vote: in (0 or 1) and out (lanes)
  int lanes = 0;       // shuffle: xor of the lane, or the lane itself
  size_t row = 0;      // matrix load
  uint32_t* loaded = nullptr;
  bool bfloat16 = false;  // matrix product
  float* c = nullptr;
  const uint32_t* a = nullptr;
  uint32_t b[2] = {0, 0};
};

// Lanes that wait for each other.
struct Meeting {
  uint32_t arrived = 0;
  std::array<Arguments*, 32> lanes = {};
};

struct Warp {
  std::vector<Meeting> meetings;  // open ones, disjoint masks
};

enum class State { kReady, kAtBlockBarrier, kAtWarpOperation, kDone };

struct Copy {
  size_t to;
  const void* from;
};

struct Thread {
  std::unique_ptr<Fiber> fiber = std::make_unique<Fiber>();
  State state = State::kReady;
  Operation operation = Operation::kSyncWarp;
  std::vector<Copy> open_copies;
  std::deque<std::vector<Copy>> groups;
};

float element(uint16_t bits, bool bfloat16) {
  if (!bfloat16) {
    static const std::vector<float> table = [] {
      std::vector<float> all;
      for (uint32_t i = 0; i < 65536; ++i) all.push_back(emulated::half_to_float(static_cast<uint16_t>(i)));
      return all;
    }();
    return table[bits];
  }
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof(x));
  return x;
}

// The registers of all lanes as the matrices they stand for, by the layouts of m16n8k16.
void multiply(Meeting& meeting) {
  const bool bfloat16 = meeting.lanes[0]->bfloat16;
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Arguments& x = *meeting.lanes[static_cast<size_t>(lane)];
    if (x.bfloat16 != bfloat16) throw Error("matrix product: lanes disagree about the element type");
    const int group = lane / 4, column = lane % 4;
    for (int i = 0; i < 8; ++i) {  // a0..a7: two to a register
      const int row = group + (i / 2 % 2 == 1 ? 8 : 0), k = column * 2 + i % 2 + (i >= 4 ? 8 : 0);
      a[row][k] = element(static_cast<uint16_t>(x.a[i / 2] >> (i % 2 * 16)), bfloat16);
    }
    for (int i = 0; i < 4; ++i) {
      const int k = column * 2 + i % 2 + (i >= 2 ? 8 : 0);
      b[k][group] = element(static_cast<uint16_t>(x.b[i / 2] >> (i % 2 * 16)), bfloat16);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + i % 2;
      float sum = meeting.lanes[static_cast<size_t>(lane)]->c[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];  // the products are exact
      meeting.lanes[static_cast<size_t>(lane)]->c[i] = sum;
    }
  }
}

void load_matrices(Meeting& meeting, SharedMemory& shared, int first_thread) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < 4; ++m) {
      const size_t row = meeting.lanes[static_cast<size_t>(m * 8 + lane / 4)]->row;
      if (row % 16 != 0) throw Error("matrix load: misaligned row");
      shared.read(first_thread + lane, row + static_cast<size_t>(lane % 4) * 4,
                  meeting.lanes[static_cast<size_t>(lane)]->loaded + m, 4, 4);
    }
  }
}

void shuffle(Meeting& meeting, uint32_t mask) {
  uint32_t out[32] = {};
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    const Arguments& mine = *meeting.lanes[static_cast<size_t>(lane)];
    const int from = (mine.operation == Operation::kShuffle ? mine.lanes : lane ^ mine.lanes) & 31;
    if ((mask >> from & 1u) == 0)
      throw Error("shuffle: lane " + std::to_string(lane) + " reads lane " + std::to_string(from) +
                  ", which is not in the mask");
    out[lane] = meeting.lanes[static_cast<size_t>(from)]->value;
  }
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) != 0) meeting.lanes[static_cast<size_t>(lane)]->value = out[lane];
  }
}

void vote_of(Meeting& meeting, uint32_t mask) {
  uint32_t yes = 0;
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) != 0 && meeting.lanes[static_cast<size_t>(lane)]->value != 0) yes |= 1u << lane;
  }
  for (int lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) != 0) meeting.lanes[static_cast<size_t>(lane)]->value = yes;
  }
}

// ---- a block ----

class Block {
 public:
  void run(const Launch& launch, const Grid& at, const std::function<void()>& kernel);

  const emulated::Place& place() const { return place_; }
  SharedMemory& shared() { return shared_; }
  int thread() const { return place_.thread; }
  Thread& current() { return threads_[static_cast<size_t>(place_.thread)]; }

  void at_block_barrier();
  void at_warp_operation(Arguments& arguments);

 private:
  void start(int thread);
  void perform(Meeting& meeting, uint32_t mask, int warp);
  [[noreturn]] void report_deadlock() const;
  void wait() { current().fiber->leave(); }

  emulated::Place place_;
  int num_threads_ = 0;
  int at_barrier_ = 0;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  SharedMemory shared_;
  std::function<void()> body_;
  std::exception_ptr failure_;
};

Block* running = nullptr;

Block& block() {
  if (running == nullptr) throw Error("device code runs outside a launch");
  return *running;
}

void Block::start(int thread) {
  Thread& t = threads_[static_cast<size_t>(thread)];
  t.state = State::kReady;
  t.open_copies.clear();
  t.groups.clear();
  t.fiber->start(&body_);
}

void Block::run(const Launch& launch, const Grid& at, const std::function<void()>& kernel) {
  num_threads_ = launch.threads;
  at_barrier_ = 0;
  failure_ = nullptr;
  threads_.resize(static_cast<size_t>(num_threads_));
  warps_.assign(static_cast<size_t>(num_threads_ + 31) / 32, Warp());
  shared_.reset(launch.shared_bytes, num_threads_);
  place_ = {0, {at.x, at.y, at.z}, {launch.grid.x, launch.grid.y, launch.grid.z}};
  body_ = [&] {
    try {
      kernel();
      if (!current().open_copies.empty() || !current().groups.empty())
        throw Error("asynchronous copies were never waited for");
    } catch (...) {
      failure_ = std::current_exception();
    }
    current().state = State::kDone;
  };
  for (int t = 0; t < num_threads_; ++t) start(t);
  for (int done = 0; done < num_threads_;) {
    bool progress = false;
    for (int t = 0; t < num_threads_; ++t) {
      if (threads_[static_cast<size_t>(t)].state != State::kReady) continue;
      place_.thread = t;
      threads_[static_cast<size_t>(t)].fiber->enter();
      progress = true;
      if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
      done += threads_[static_cast<size_t>(t)].state == State::kDone;
    }
    if (!progress) report_deadlock();
  }
}

void Block::report_deadlock() const {
  int at_barrier = 0, at_operation = 0, done = 0;
  std::string examples;
  auto note = [&](int count, size_t t, const std::string& where) {
    if (count == 1) examples += "; thread " + std::to_string(t) + " " + where;
  };
  for (size_t t = 0; t < threads_.size(); ++t) {
    const Thread& thread = threads_[t];
    if (thread.state == State::kAtBlockBarrier) note(++at_barrier, t, "waits at the block barrier");
    if (thread.state == State::kAtWarpOperation)
      note(++at_operation, t, std::string("waits for its warp at a ") + name_of(thread.operation));
    if (thread.state == State::kDone) note(++done, t, "has returned");
  }
  throw Error("deadlock: " + std::to_string(at_barrier) + " threads at the block barrier, " +
              std::to_string(at_operation) + " at warp operations, " + std::to_string(done) + " returned" +
              examples);
}

void Block::at_block_barrier() {
  current().state = State::kAtBlockBarrier;
  if (++at_barrier_ == num_threads_) {
    at_barrier_ = 0;
    shared_.block_barrier();
    for (Thread& t : threads_) t.state = State::kReady;
    return;
  }
  wait();
}

void Block::perform(Meeting& meeting, uint32_t mask, int warp) {
  switch (meeting.lanes[static_cast<size_t>(thread() % 32)]->operation) {
    case Operation::kSyncWarp:
      return shared_.warp_barrier(warp);
    case Operation::kShuffleXor:
    case Operation::kShuffle:
      return shuffle(meeting, mask);
    case Operation::kVote:
      return vote_of(meeting, mask);
    case Operation::kLoadMatrix:
      return load_matrices(meeting, shared_, warp * 32);
    case Operation::kMma:
      return multiply(meeting);
  }
}

void Block::at_warp_operation(Arguments& arguments) {
  const int warp = thread() / 32, lane = thread() % 32;
  const std::string name = name_of(arguments.operation);
  if ((arguments.mask >> lane & 1u) == 0) throw Error(name + ": the lane is not in its own mask");
  const bool matrix = arguments.operation == Operation::kLoadMatrix || arguments.operation == Operation::kMma;
  if (matrix && arguments.mask != kernels::device::kFullWarp) throw Error(name + " by part of a warp");
  std::vector<Meeting>& meetings = warps_[static_cast<size_t>(warp)].meetings;
  size_t at = 0;
  for (; at < meetings.size(); ++at) {
    const int other = __builtin_ctz(meetings[at].arrived);
    const Arguments& theirs = *meetings[at].lanes[static_cast<size_t>(other)];
    if ((theirs.mask & arguments.mask) == 0) continue;
    if (theirs.mask != arguments.mask || theirs.operation != arguments.operation)
      throw Error("diverged warp: this lane is at a " + name + ", lane " + std::to_string(other) + " at a " +
                  name_of(theirs.operation) + (theirs.mask != arguments.mask ? " with another mask" : ""));
    break;
  }
  if (at == meetings.size()) meetings.emplace_back();
  meetings[at].arrived |= 1u << lane;
  meetings[at].lanes[static_cast<size_t>(lane)] = &arguments;
  current().state = State::kAtWarpOperation;
  current().operation = arguments.operation;
  if (meetings[at].arrived != arguments.mask) return wait();
  Meeting meeting = meetings[at];
  meetings.erase(meetings.begin() + static_cast<std::ptrdiff_t>(at));
  perform(meeting, arguments.mask, warp);
  for (int i = 0; i < 32; ++i) {
    if ((arguments.mask >> i & 1u) != 0) threads_[static_cast<size_t>(warp * 32 + i)].state = State::kReady;
  }
}

}  // namespace

void launch(const Launch& launch, const std::function<void()>& kernel) {
  static Block block;  // keeps the stacks
  if (launch.threads < 1 || launch.threads > 1024) throw Error("a block has 1 to 1024 threads");
  for (int z = 0; z < launch.grid.z; ++z) {
    for (int y = 0; y < launch.grid.y; ++y) {
      for (int x = 0; x < launch.grid.x; ++x) {
        running = &block;
        try {
          block.run(launch, {x, y, z}, kernel);
        } catch (const Error& error) {
          const int thread = block.thread();
          running = nullptr;
          throw Error("block (" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) +
                      "), thread " + std::to_string(thread) + ": " + error.what());
        } catch (...) {
          running = nullptr;
          throw;
        }
        running = nullptr;
      }
    }
  }
}

}  // namespace pan::simt

// ---- what the device code calls ----

namespace pan::kernels::device::emulated {

using simt::Arguments;
using simt::block;
using simt::Operation;

const Place& place() { return block().place(); }
void sync_block() { block().at_block_barrier(); }

void sync_warp(uint32_t mask) {
  Arguments arguments{.operation = Operation::kSyncWarp, .mask = mask};
  block().at_warp_operation(arguments);
}

uint32_t shuffle_xor(uint32_t mask, uint32_t value, int lanes) {
  Arguments arguments{.operation = Operation::kShuffleXor, .mask = mask, .value = value, .lanes = lanes};
  block().at_warp_operation(arguments);
  return arguments.value;
}

uint32_t shuffle(uint32_t mask, uint32_t value, int lane) {
  Arguments arguments{.operation = Operation::kShuffle, .mask = mask, .value = value, .lanes = lane};
  block().at_warp_operation(arguments);
  return arguments.value;
}

uint32_t vote(uint32_t mask, bool value) {
  Arguments arguments{.operation = Operation::kVote, .mask = mask, .value = value ? 1u : 0u};
  block().at_warp_operation(arguments);
  return arguments.value;
}

void shared_read(size_t offset, void* to, size_t bytes, size_t alignment) {
  block().shared().read(block().thread(), offset, to, bytes, alignment);
}
void shared_write(size_t offset, const void* from, size_t bytes, size_t alignment) {
  block().shared().write(block().thread(), offset, from, bytes, alignment);
}

void copy_async(size_t to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) throw simt::Error("asynchronous copy: misaligned source");
  block().shared().begin_copy(block().thread(), to);
  block().current().open_copies.push_back({to, valid ? from : nullptr});
}
void commit_copies() {
  simt::Thread& thread = block().current();
  thread.groups.push_back(std::exchange(thread.open_copies, {}));
}
void wait_copies(int pending) {
  simt::Thread& thread = block().current();
  while (static_cast<int>(thread.groups.size()) > pending) {
    for (const simt::Copy& copy : thread.groups.front())
      block().shared().land_copy(block().thread(), copy.to, copy.from);
    thread.groups.pop_front();
  }
}

void load_matrix_x4(uint32_t (&r)[4], size_t row) {
  Arguments arguments{.operation = Operation::kLoadMatrix, .mask = kFullWarp, .row = row, .loaded = r};
  block().at_warp_operation(arguments);
}

void mma(bool bfloat16, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  Arguments arguments{
      .operation = Operation::kMma, .mask = kFullWarp, .bfloat16 = bfloat16, .c = c, .a = a, .b = {b0, b1}};
  block().at_warp_operation(arguments);
}

float mul_up(float a, float b) {
  const double exact = static_cast<double>(a) * static_cast<double>(b);
  const float rounded = static_cast<float>(exact);
  return static_cast<double>(rounded) < exact
             ? std::nextafter(rounded, std::numeric_limits<float>::infinity())
             : rounded;
}

float half_to_float(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float x;
  if (exponent == 31) {
    x = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  } else {
    x = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                      : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -x : x;
}

uint16_t float_to_half(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float size = std::fabs(x);
  if (std::isnan(x)) return 0x7fff;
  if (size >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00);
  int exponent = 0;
  std::frexp(size, &exponent);                   // size = f 2^exponent, 0.5 <= f < 1
  const int ulp = std::max(exponent, -13) - 11;  // of the result: 2^ulp
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, -ulp)));
  if (size == 0.0f) return sign;
  // Steps of a normal number count from 1024 (2048 carries into the exponent), of a subnormal one from 0.
  return static_cast<uint16_t>(sign | ((ulp + 24) * 1024 + steps));
}

}  // namespace pan::kernels::device::emulated
