// Shapes, data and error bounds shared by the kernel tests. One body per test, run over devices, types and
// shapes.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/attention_stats.h"

namespace pan::kernels::testing {

enum class Rows { all, from_one, last_only, from_middle };

struct Shape {
  int64_t length = 33;        // T of the longest sequence
  int64_t head_size = 64;     // D
  int64_t num_heads = 2;      // H
  int64_t num_key_heads = 2;  // Hkv
  at::ScalarType type = at::kFloat;
  int64_t num_sink = 1;
  int64_t window = 0;
  Rows rows = Rows::all;
  bool ragged = false;  // further sequences of other lengths before and after it, an empty one among them
};

std::string describe(const Shape& shape);

// Greedy pairwise cover: every pair of values of two dimensions occurs in some shape. T up to max_length.
std::vector<Shape> pairwise_shapes(const std::vector<int64_t>& lengths);

struct Batch {
  at::Tensor q;  // [N, H, D]
  at::Tensor k;  // [N, Hkv, D]
  std::vector<int64_t> cu_seqlens;
  std::vector<int64_t> first_row;  // one entry per sequence
};

// Random normal queries and keys; the scores have a standard deviation of about `spread`.
Batch make_batch(const Shape& shape, uint64_t seed, double spread = 2.0);

RowStatsOptions options_of(const Shape& shape, const Batch& batch);

// Largest |S| of the batch (an upper bound by norms is not enough: the bounds scale with it only above 50).
double max_score(const Batch& batch, double scale);

// Compares with the bounds of docs/rhythm.md section 2. `name` chooses the bound. Rows before first_row must
// be exactly 0.
void expect_within(const std::string& name, const at::Tensor& got, const at::Tensor& expected,
                   double largest_score);

// Every statistic of `got` against the reference.
void expect_row_stats(const RowStats& got, const RowStats& expected, double largest_score);

// Row statistics, band, column means and anchor mass of `moved` (batch on the device under test) against the
// reference of `batch`.
void expect_all_kernels(const Shape& shape, const Batch& batch, const Batch& moved);

// "cpu" and "cuda" (devices.cpp). The emulation of a GPU takes the place of "cpu" and has no other
// (simt_runtime.cpp).
std::vector<const char*> kernel_devices();

// A test of a device that is not there skips with the reason.
class DeviceTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override;
  at::Tensor on_device(const at::Tensor& tensor) const { return tensor.to(at::Device(GetParam())); }
  Batch on_device(const Batch& batch) const {
    return {on_device(batch.q), on_device(batch.k), batch.cu_seqlens, batch.first_row};
  }
};

}  // namespace pan::kernels::testing
