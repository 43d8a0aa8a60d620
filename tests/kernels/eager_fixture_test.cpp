// The statistics of two real models' layers against those of the maps that transformers' eager attention
// returned: two packed texts of about 200 tokens each per model.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
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
    std::string name, type;
    words >> name >> type;
    std::vector<int64_t> shape;
    for (int64_t size; words >> size;) shape.push_back(size);
    at::Tensor tensor = at::empty(shape, type == "float16" ? at::kHalf : at::kFloat);
    const size_t bytes = tensor.nbytes();
    if (offset + bytes > data.size()) throw std::runtime_error("attention.bin is too short at " + name);
    std::copy_n(data.data() + offset, bytes, static_cast<char*>(tensor.data_ptr()));
    offset += bytes;
    tensors[name] = tensor;
  }
  return tensors;
}

std::vector<int64_t> integers(const at::Tensor& row) {
  const at::Tensor values = row.to(at::kLong).contiguous();
  return {values.const_data_ptr<int64_t>(), values.const_data_ptr<int64_t>() + values.numel()};
}

using EagerAttention = DeviceTest;
INSTANTIATE_TEST_SUITE_P(Devices, EagerAttention, ::testing::ValuesIn(kernel_devices()));

// The constants are those of make_attention.py.
TEST_P(EagerAttention, StatisticsOfRealModelsLayers) {
  const std::map<std::string, at::Tensor> tensors = load_tensors();
  for (const char* model : {"smollm2", "qwen2"}) {
    const auto stored = [&](const char* name) { return tensors.at(std::string(model) + "." + name); };
    const std::vector<int64_t> cu = integers(stored("cu_seqlens"));
    ASSERT_EQ(cu.size(), 3u);
    ASSERT_GT(std::min(cu[1], cu[2] - cu[1]), 150);
    std::vector<int64_t> step_of(static_cast<size_t>(cu[2]), -1), heads;
    std::vector<std::vector<int64_t>> anchors;
    for (int64_t i = 0; i < stored("steps").size(0); ++i) {
      std::vector<int64_t> step = integers(stored("steps")[i]);
      step.erase(std::find(step.begin(), step.end(), -1), step.end());
      std::fill(step_of.begin() + step[0], step_of.begin() + step[1], i);
      anchors.emplace_back(step.begin() + 2, step.end());
    }
    const int64_t num_heads = stored("q").size(1);
    for (int64_t h = 0; h < num_heads; ++h) heads.push_back(h);
    const double largest = max_score({stored("q"), stored("k"), cu, {}}, 1.0 / 8);

    for (at::ScalarType type : {at::kFloat, at::kHalf}) {
      const at::Tensor q = on_device(stored("q").to(type)), k = on_device(stored("k").to(type));
      const at::Tensor weights =
          on_device(at::full({num_heads}, 1.0 / static_cast<double>(num_heads), at::kFloat));
      const RowStats stats = row_stats(q, k, cu, {});
      const std::map<std::string, at::Tensor> got = {
          {"lse", stats.lse},
          {"lse_ns", stats.lse_ns},
          {"entropy", stats.entropy},
          {"norm_entropy", stats.norm_entropy},
          {"distance", stats.distance},
          {"distance_ns", stats.distance_ns},
          {"waad", stats.waad},
          {"sink_mass", stats.sink_mass},
          {"fai", attention_fai(q, k, stats.lse, cu, 0, 10, 100, {60, 60})},
          {"band", attention_band(q, k, stats.lse, cu, 0, 10, 100, weights)},
          {"anchor_mass", anchor_mass(q, k, stats.lse_ns, cu, 0, step_of, anchors, heads)},
      };
      // The softmax of the model's own maps is float32: the bounds, which are for exact maps, hold with the
      // factor 2.
      for (const auto& [name, value] : got) {
        SCOPED_TRACE(::testing::Message() << model << ", " << c10::toString(type) << ": " << name);
        expect_within(name, value, stored(name.c_str()).to(at::kDouble), std::max(100.0, 2 * largest));
      }
    }
  }
}

}  // namespace
}  // namespace pan::kernels::testing
