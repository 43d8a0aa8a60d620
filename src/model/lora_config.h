// Options of low-rank adapters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/schema.h"

namespace pan::model {

// Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": y = W x + (alpha / rank) B A x.
struct LoraConfig {
  int64_t rank = 0;
  double alpha = 16;
  std::vector<std::string> targets = {};
  std::string path = {};

  bool enabled() const { return rank > 0; }
};

inline void describe(core::Fields& f, LoraConfig& c) {
  f.integer(
      "rank", c.rank,
      {.min = 0,
       .doc = "Rank of the adapters that are trained in place of the weights, which stay as they are and "
              "also serve as the reference model. 0 = none, all weights are trained. A separate critic "
              "gets adapters of its own."});
  f.number("alpha", c.alpha,
           {.min = 0, .exclusive_min = true, .doc = "What an adapter adds is scaled by alpha / rank."});
  f.text_list("targets", c.targets,
              {.doc = "Projections that get an adapter: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                      "down_proj; empty = all seven."});
  f.text("path", c.path,
         {.doc = "Folder of a PEFT adapter of the same rank, alpha and targets to start from; empty = fresh "
                 "adapters, which change nothing at first.",
          .is_path = true});
}

}  // namespace pan::model
