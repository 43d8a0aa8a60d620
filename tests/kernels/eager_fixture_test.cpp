// The statistics of a real model's layer against those of the maps that transformers' eager attention
// returned.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

#include "kernels/attention_stats.h"
#include "kernels/cases.h"
#include "support/support.h"

namespace pan::kernels::testing {
namespace {

// The tensors of tests/fixtures/kernels/attention.{txt,bin}.
std::map<std::string, at::Tensor> load_tensors() {
  const std::string data = pan::testing::read_text(pan::testing::fixture("kernels/attention.bin"));
  std::istringstream index(pan::testing::read_text(pan::testing::fixture("kernels/attention.txt")));
  std::map<std::string, at::Tensor> tensors;
  size_t offset = 0;
  for (std::string line; std::getline(index, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    std::vector<int64_t> shape;
    for (int64_t size; words >> size;) shape.push_back(size);
    at::Tensor tensor = at::empty(shape, at::kFloat);
    const size_t bytes = tensor.nbytes();
    if (offset + bytes > data.size()) throw std::runtime_error("attention.bin is too short at " + name);
    std::copy_n(data.data() + offset, bytes, static_cast<char*>(tensor.data_ptr()));
    offset += bytes;
    tensors[name] = tensor;
  }
  return tensors;
}

using EagerAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, EagerAttention, ::testing::Values("cpu", "cuda"));

// The constants are those of make_attention.py.
TEST_P(EagerAttention, StatisticsOfARealModelsLayer) {
  std::map<std::string, at::Tensor> t = load_tensors();
  const at::Tensor q = on_device(t.at("q")), k = on_device(t.at("k"));
  ASSERT_EQ(q.size(1), 9);
  ASSERT_EQ(k.size(1), 3);
  const std::vector<int64_t> cu{0, q.size(0)};
  const RowStats stats = row_stats(q, k, cu, {});
  const at::Tensor weights = on_device(at::full({9}, 1.0 / 9));
  const std::map<std::string, at::Tensor> got = {
      {"lse", stats.lse},
      {"lse_ns", stats.lse_ns},
      {"entropy", stats.entropy},
      {"norm_entropy", stats.norm_entropy},
      {"distance", stats.distance},
      {"distance_ns", stats.distance_ns},
      {"waad", stats.waad},
      {"sink_mass", stats.sink_mass},
      {"fai", attention_fai(q, k, stats.lse, cu, 0, 4, 30, {25})},
      {"band", attention_band(q, k, stats.lse, cu, 0, 4, 30, weights)},
  };
  // The model's own maps are float32: the bounds, which are for exact maps, hold with the factor 2.
  for (const auto& [name, value] : got) {
    SCOPED_TRACE(name);
    expect_within(name, value, t.at(name).to(at::kDouble), 100);
  }
}

}  // namespace
}  // namespace pan::kernels::testing
