#include "kernels/bench/bench.h"

#include <ATen/Context.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "kernels/bench/tensor_memory.h"

namespace pan::kernels::bench {
namespace {

// Leaves one implementation to choose from; the destructor gives back the others.
class OnlySdpa {
 public:
  explicit OnlySdpa(bool flash) {
    context_.setSDPUseFlash(flash);
    context_.setSDPUseMemEfficient(!flash);
    context_.setSDPUseMath(false);
    context_.setSDPUseCuDNN(false);
  }
  ~OnlySdpa() {
    context_.setSDPUseFlash(flash_);
    context_.setSDPUseMemEfficient(mem_efficient_);
    context_.setSDPUseMath(math_);
    context_.setSDPUseCuDNN(cudnn_);
  }
  OnlySdpa(const OnlySdpa&) = delete;
  OnlySdpa& operator=(const OnlySdpa&) = delete;

 private:
  at::Context& context_ = at::globalContext();
  bool flash_ = context_.userEnabledFlashSDP(), mem_efficient_ = context_.userEnabledMemEfficientSDP(),
       math_ = context_.userEnabledMathSDP(), cudnn_ = context_.userEnabledCuDNNSDP();
};

}  // namespace

Cell text(const char* name, std::string value) { return {name, std::move(value), true}; }

Cell number(const char* name, double value, int digits) {
  if (std::isnan(value)) return {name, "-", false};
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return {name, buffer, false};
}

void Table::add(std::vector<Cell> row) {
  const auto width = [](const Cell& c) {
    return static_cast<int>(std::max<size_t>(c.name.size(), c.is_text ? 12 : 7));
  };
  if (rows_.empty()) {
    std::printf("\n%s\n\n", title_.c_str());
    for (const Cell& c : row) std::printf("| %-*s ", width(c), c.name.c_str());
    std::printf("|\n");
    for (const Cell& c : row)
      std::printf("|%s%s", std::string(static_cast<size_t>(width(c)) + 1, '-').c_str(),
                  c.is_text ? "-" : ":");
    std::printf("|\n");
  }
  for (const Cell& c : row) std::printf(c.is_text ? "| %-*s " : "| %*s ", width(c), c.value.c_str());
  std::printf("|\n");
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

std::string Table::json() const {
  std::string out = "\"" + name_ + "\": [";
  for (size_t i = 0; i < rows_.size(); ++i) {
    out += i == 0 ? "\n" : ",\n";
    for (size_t j = 0; j < rows_[i].size(); ++j) {
      const Cell& c = rows_[i][j];
      out += (j == 0 ? "  {\"" : ", \"") + c.name + "\": ";
      out += c.is_text ? "\"" + c.value + "\"" : c.value == "-" ? "null" : c.value;
    }
    out += "}";
  }
  return out + "]";
}

double peak_mb(const std::function<void()>& call, at::Device device) {
  if (device.is_cuda()) return pan::bench::device_peak_mb(call, device);
  return static_cast<double>(pan::bench::peak_tensor_bytes(call)) / 1048576;
}

const char* type_name(at::ScalarType type) { return type == at::kFloat ? "float32" : "bfloat16"; }

double sdpa_ms(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool is_causal,
               const Settings& settings) {
  const bool flash = settings.device.is_cpu() || q.scalar_type() != at::kFloat;
  // The memory-efficient one wants a key head per query head; made outside of the timing.
  const int64_t repeats = flash ? 1 : q.size(1) / k.size(1);
  const at::Tensor keys = repeats == 1 ? k : k.repeat_interleave(repeats, 1);
  const at::Tensor values = repeats == 1 ? v : v.repeat_interleave(repeats, 1);
  const OnlySdpa only(flash);
  try {
    return pan::bench::median_ms(
        [&] {
          at::scaled_dot_product_attention(q, keys, values, {}, 0.0, is_causal, std::nullopt,
                                           /*enable_gqa=*/flash && k.size(1) != q.size(1));
        },
        settings.timing());
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "SDPA cannot do this: %s\n", error.what_without_backtrace());
    return kNotRun;
  }
}

}  // namespace pan::kernels::bench
