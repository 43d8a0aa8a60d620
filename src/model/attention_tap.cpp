#include "model/attention_tap.h"

namespace pan::model {

std::vector<int64_t> default_tap_layers(const Arch& arch) {
  const int64_t n = arch.num_layers, a = n / 3, b = 2 * n / 3;
  std::vector<int64_t> layers;
  for (int64_t i = 0; i <= 4; ++i) {
    const int64_t layer = a + (i * (b - a) + 2) / 4;
    if (layers.empty() || layers.back() != layer) layers.push_back(layer);
  }
  return layers;
}

}  // namespace pan::model
