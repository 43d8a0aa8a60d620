// The fused CPU loops against the composed formulas in float64, and their independence of threads and of
// other rows.
#include "model/cpu_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/small_linear.h"

namespace pan::model {
namespace {

struct Case {
  at::ScalarType type;
  int64_t rows, width;
};
// A float32 result keeps about 1e-6 of the magnitude; bfloat16 is rounded at 2^-9, at most twice on the way.
double tolerance_of(at::ScalarType type) { return type == at::kFloat ? 2e-6 : 1.2e-2; }

class Rows : public ::testing::TestWithParam<Case> {
 protected:
  at::Tensor random(std::vector<int64_t> shape, double spread = 1.0) {
    return (at::randn(shape, at::kDouble) * spread).to(GetParam().type);
  }
  void expect_close(const at::Tensor& got, const at::Tensor& expected) {
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_EQ(got.scalar_type(), GetParam().type);
    EXPECT_LT((got.to(at::kDouble) - expected).abs().max().item<double>() / scale,
              tolerance_of(GetParam().type));
  }
  int64_t rows() const { return GetParam().rows; }
  int64_t width() const { return GetParam().width; }
};
INSTANTIATE_TEST_SUITE_P(Shapes, Rows,
                         ::testing::Values(Case{at::kFloat, 1, 2}, Case{at::kFloat, 3, 30},
                                           Case{at::kFloat, 300, 64}, Case{at::kFloat, 129, 576},
                                           Case{at::kBFloat16, 1, 2}, Case{at::kBFloat16, 5, 34},
                                           Case{at::kBFloat16, 131, 576}));

TEST_P(Rows, NormAndItsGradients) {
  const at::Tensor x = random({rows(), width()}, 3.0), weight = random({width()}),
                   gradient = random({rows(), width()});
  const auto [y, inverse] = rows::rms_norm(x, weight, 1e-5);
  at::Tensor dx = x.to(at::kDouble).set_requires_grad(true),
             dw = weight.to(at::kDouble).set_requires_grad(true);
  const at::Tensor expected = dx * at::rsqrt(dx.square().mean(-1, true) + 1e-5) * dw;
  expect_close(y, expected.detach());
  (expected * gradient.to(at::kDouble)).sum().backward();
  const auto [got_dx, got_dw] = rows::rms_norm_backward(gradient, x, weight, inverse);
  expect_close(got_dx, dx.grad());
  expect_close(got_dw, dw.grad());
}

TEST_P(Rows, NormOfStridedHeads) {
  const at::Tensor base = random({rows(), 5 * width()}), weight = random({width()});
  const at::Tensor heads = base.narrow(1, width(), 3 * width()).unflatten(1, {3, width()});
  EXPECT_TRUE(at::equal(rows::rms_norm(heads, weight, 1e-6).first,
                        rows::rms_norm(heads.contiguous(), weight, 1e-6).first));
}

TEST_P(Rows, RotationAndItsInverse) {
  const int64_t half = width() / 2;
  const at::Tensor base = random({rows(), 4 * width()}), angles = at::rand({rows(), half}) * 50;
  const at::Tensor x = base.narrow(1, 0, 3 * width()).unflatten(1, {3, width()});
  const at::Tensor wide = x.to(at::kDouble), a = wide.narrow(2, 0, half), b = wide.narrow(2, half, half);
  const at::Tensor cos = angles.cos(), sin = angles.sin(), c = cos.to(at::kDouble).unsqueeze(1),
                   s = sin.to(at::kDouble).unsqueeze(1);
  const at::Tensor got = rows::rotate(x, cos, sin, false);
  expect_close(got, at::cat({a * c - b * s, b * c + a * s}, 2));
  expect_close(rows::rotate(got, cos, sin, true), wide);
}

TEST_P(Rows, SiluMulAndItsGradient) {
  const at::Tensor gate_up = random({rows(), 2 * width()}, 8.0), gradient = random({rows(), width()});
  const at::Tensor wide = gate_up.to(at::kDouble).set_requires_grad(true);
  const at::Tensor gate = wide.narrow(1, 0, width()), up = wide.narrow(1, width(), width());
  const at::Tensor expected = gate * at::sigmoid(gate) * up;
  expect_close(rows::silu_mul(gate_up), expected.detach());
  (expected * gradient.to(at::kDouble)).sum().backward();
  expect_close(rows::silu_mul_backward(gradient, gate_up), wide.grad());
}

TEST_P(Rows, SmallLinearMatchesFloat64AndRowsAreIndependent) {
  for (const int64_t outputs : {1, 7, 64, 301}) {
    const at::Tensor weight = random({outputs, width()}), bias = random({outputs});
    for (const int64_t count : {1, 3, 4, 8, 11, 16, 24}) {
      const at::Tensor x = random({count, width()});
      const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      const at::Tensor got = small_linear(x, weight, bias);
      expect_close(got, exact);
      const at::Tensor wide = small_linear(x, weight, bias, true);
      EXPECT_EQ(wide.scalar_type(), at::kFloat);
      const double scale = std::max(1.0, exact.abs().max().item<double>());
      EXPECT_LT((wide - exact).abs().max().item<double>() / scale, 5e-6);
      EXPECT_TRUE(
          at::equal(small_linear(x.narrow(0, count - 1, 1), weight, bias), got.narrow(0, count - 1, 1)));
    }
  }
}

TEST(SmallLinear, ThreadsChangeNothing) {
  const int threads = at::get_num_threads();
  const at::Tensor x = at::randn({9, 576}), weight = at::randn({4099, 576});
  at::set_num_threads(1);
  const at::Tensor one = small_linear(x, weight, {});
  at::set_num_threads(3);
  const at::Tensor three = small_linear(x, weight, {});
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, three));
}

TEST(SiluMul, ExtremesStayFinite) {
  const at::Tensor gate_up =
      at::tensor({-1e30f, -200.0f, -90.0f, -0.0f, 90.0f, 1e30f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f})
          .view({1, 12});
  const at::Tensor y = rows::silu_mul(gate_up), d = rows::silu_mul_backward(at::ones({1, 6}), gate_up);
  EXPECT_TRUE(at::isfinite(y).all().item<bool>()) << y;
  EXPECT_TRUE(at::isfinite(d).all().item<bool>()) << d;
  EXPECT_NEAR(y[0][4].item<double>(), 90.0, 1e-4);
  EXPECT_NEAR(y[0][1].item<double>(), 0.0, 1e-30);
  const at::Tensor bad = rows::silu_mul(at::tensor({static_cast<float>(NAN), 1.0f}).view({1, 2}));
  EXPECT_TRUE(at::isnan(bad).all().item<bool>());
}

}  // namespace
}  // namespace pan::model
