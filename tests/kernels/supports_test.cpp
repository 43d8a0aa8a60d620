// What the kernels say they can do.
#include "kernels/supports.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/attention_stats.h"
#include "kernels/dispatch.h"

namespace pan::kernels::testing {
namespace {

TEST(Supports, SaysYesToWhatRuns) {
  for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Support support = supports({.type = type, .head_size = 300, .num_heads = 14, .num_key_heads = 2});
    EXPECT_TRUE(support.yes);
    EXPECT_EQ(support.why_not, "");
    const at::Tensor q = at::zeros({2, 14, 300}, type), k = at::zeros({2, 2, 300}, type);
    EXPECT_NO_THROW(row_stats(q, k, {0, 2}, {}));
  }
}

TEST(Supports, SaysWhyNotInASentence) {
  const auto reason = [](const AttentionWork& work) {
    const Support support = supports(work);
    EXPECT_FALSE(support.yes);
    return support.why_not;
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(reason({.type = at::kDouble, .head_size = 64}), "float32, bfloat16 and float16");
  has(reason({.head_size = 64, .num_heads = 9, .num_key_heads = 2}), "9 query heads");
  has(reason({.device = at::kMPS, .head_size = 64}), "mps");
  has(reason({.head_size = 0}), "head size of 0");
  has(reason({.head_size = 64, .band_lo = 5, .band_hi = 4}), "empty");
  const AttentionWork large{.device = at::kCUDA, .type = at::kBFloat16, .head_size = 320};
  has(reason(large), cuda::is_built() ? "head size of 320 is above 256" : "built without CUDA");
  EXPECT_EQ(supports({.device = at::kCUDA, .head_size = 256}).yes, cuda::is_built());
}

}  // namespace
}  // namespace pan::kernels::testing
