// Settings of the process that a run needs before its first tensor: threads, determinism, allocator, device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "train/train_config.h"

namespace pan::train {

// threads: 0 = all that the process may use. Deterministic algorithms on, dynamic threading off. Returns the
// device. Errors: kConfig where threads is beyond four for each usable processor; kDevice where a GPU is
// asked for and this build or machine has none. Warns once where bfloat16 is emulated by the processor.
at::Device prepare_process(const ModelConfig& model, int64_t threads);

// Gives what is free in the heap back to the system. Between phases: each takes blocks of other sizes, and
// what the last one left in pieces would else stay with the process and grow for hours.
void release_free_memory();

at::ScalarType compute_type(const ModelConfig& model);

// What the process may use at most of the memory that models and tensors live in: the GPU's where they are on
// one, else the machine's.
struct Memory {
  std::string of;
  int64_t bytes = 0;
};
Memory memory_of(at::Device device);

}  // namespace pan::train
