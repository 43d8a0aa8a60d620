// Floating-point work of a model and what the machine can do: model FLOPs utilisation.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/arch.h"
#include "rl/sequence.h"

namespace pan::train {

// Operations of one forward over the sequences: 2 for each matrix weight and token, 4 H D for each pair of a
// query and a key that it sees. `head`: with the output matrix, at response tokens. A backward pass costs
// twice as much.
double forward_flops(const model::Arch& arch, const std::vector<rl::TrainSequence>& sequences, bool head);

// Operations per second of a large matrix product in this type, the best of a few; takes about 0.1 s.
double measured_peak_flops(at::Device device, at::ScalarType dtype);

}  // namespace pan::train
