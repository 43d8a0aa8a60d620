// Tests that run once per device: "cpu" always, "cuda" where there is a GPU and a build for it. With
// deterministic algorithms, as the program runs.
//
//   using Thing = pan::testing::DeviceTest;
//   INSTANTIATE_TEST_SUITE_P(Devices, Thing, pan::testing::devices());
//   TEST_P(Thing, DoesIt) { at::zeros({3}, at::TensorOptions(device())); }
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <string>

namespace pan::testing {

class DeviceTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string(GetParam()) != "cpu" && !at::hasCUDA())
      GTEST_SKIP() << "no CUDA device in this build or machine";
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }
  at::Device device() const { return at::Device(GetParam()); }
};

inline auto devices() { return ::testing::Values("cpu", "cuda"); }

}  // namespace pan::testing
