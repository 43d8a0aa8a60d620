// A CUDA-like block of threads on the CPU, to run the device code of kernels/cuda/device where no GPU is.
//
//   simt::launch({.grid = {4, 2, 1}, .threads = 128, .shared_bytes = 4096}, [&] { my_block(job); });
//
// Every thread of a block is a fiber; blocks run one after the other. Threads run until they wait for others,
// so the order is fixed and results repeat. launch() throws Error, naming block and thread, for what the
// hardware would let pass or hang on:
//   * shared memory: out of bounds, misaligned, read before it was written, read while an asynchronous copy
//   to
//     it is on its way, and races: two threads touch a byte, one of them writing, with no barrier in between
//     (a warp barrier counts inside a warp);
//   * a barrier that some thread of the block never reaches, or reaches while others wait elsewhere;
//   * warp operations (shuffle, vote, matrix load, matrix product) whose lanes name different masks or are at
//     different operations, a lane outside its own mask, a shuffle from a lane outside the mask;
//   * matrix operations by part of a warp; asynchronous copies never waited for.
// Results of matrix products are those of the documented fragment layouts, summed in float32 along the depth.
// No claim on speed, and none on what the hardware's rounding inside a matrix product is.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

namespace pan::simt {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Grid {
  int x = 1, y = 1, z = 1;
};

struct Launch {
  Grid grid = {};
  int threads = 128;
  size_t shared_bytes = 0;
};

void launch(const Launch& launch, const std::function<void()>& kernel);

}  // namespace pan::simt
