// The hook on chosen attention layers: hands over q and k after the rotary embedding and never touches the
// forward itself, so logits with a tap are those without, bit for bit.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/attention_stats.h"
#include "model/arch.h"

namespace pan::model {

struct AttentionTap {
  std::vector<int64_t> layers;  // sorted, unique
  std::function<void(const kernels::LayerQk& layer)>
      on_layer;  // called once per tapped layer, in order, detached tensors
};

// The default layers of docs/rhythm.md section 1: of the n layers with full attention, in order, a =
// floor(n/3), b = floor(2n/3): indices a + floor((i(b-a)+2)/4), i = 0..4, duplicates dropped.
std::vector<int64_t> default_tap_layers(const Arch& arch);

}  // namespace pan::model
