// The passes over one row of logits that sampling consists of; plain pointers, vectorised, no allocation.
// Sums are taken in a fixed order whatever the instruction set, so results are equal bit for bit across them.
#pragma once

#include <cstdint>

namespace pan::rollout {

// Elements whose exponentials are added up together; cumulative sums are kept per block.
inline constexpr int64_t kSampleBlock = 256;

inline int64_t num_sample_blocks(int64_t n) { return (n + kSampleBlock - 1) / kSampleBlock; }

struct RowMax {
  float max = 0;
  bool has_nan = false;
};
RowMax row_max(const float* logits, int64_t n);

struct RowSums {
  double total = 0;   // sum of weights
  double spread = 0;  // sum of weights * exponents
};
// weights[i] = exp((logits[i] - max) * inverse_temperature), with exponents below -87 giving 0;
// block_sums[j] = sum of the j-th block. Relative error of a weight below 3e-7.
RowSums exp_row(const float* logits, int64_t n, float max, float inverse_temperature, float* weights,
                double* block_sums);

// block_sums of given weights; returns their total.
double sum_blocks(const float* weights, int64_t n, double* block_sums);

// The first i (in ascending order) with weights[0] + ... + weights[i] > u * total, weights of 0 never chosen.
// u in [0, 1); at least one weight is positive.
int64_t invert_cdf(const float* weights, int64_t n, const double* block_sums, double total, double u);

}  // namespace pan::rollout
