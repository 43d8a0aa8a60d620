// The fixture tests/fixtures/rl/reference.json and small helpers to read it.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json.h"
#include "support/support.h"

namespace pan::rl {

inline const core::Json& reference() {
  static const core::Json json = core::read_json_file(testing::fixture("rl") + "/reference.json");
  return json;
}

inline std::vector<double> doubles(const core::Json& json) { return json.get<std::vector<double>>(); }

inline at::Tensor floats(const core::Json& json) {
  return at::tensor(doubles(json), at::kDouble).to(at::kFloat);
}
inline at::Tensor float64(const core::Json& json) { return at::tensor(doubles(json), at::kDouble); }

// |a - b| <= bound * max(1, largest |b|), entry by entry.
inline void expect_close(const at::Tensor& a, const at::Tensor& b, double bound, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const at::Tensor x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  const double scale = std::max(1.0, y.abs().max().item<double>());
  EXPECT_LE((x - y).abs().max().item<double>(), bound * scale) << what;
}

inline std::vector<int64_t> offsets_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> out = {0};
  for (int64_t n : lengths) out.push_back(out.back() + n);
  return out;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b);
}

}  // namespace pan::rl
