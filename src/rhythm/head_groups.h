// Which heads look near and which look far: docs/rhythm.md section 4.
//
//   HeadGroupCalibrator calibrator(config);
//   for (each micro-batch) calibrator.add(captured_layers, cu_seqlens, prompt_lengths);
//   HeadGroups groups = calibrator.finish();
//   core::Json state = groups.to_json();   // part of a checkpoint
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "kernels/attention_stats.h"
#include "rhythm/rhythm_config.h"

namespace pan::rhythm {

struct Head {
  int64_t layer = 0;  // index in the model
  int64_t head = 0;   // query head
  auto operator<=>(const Head&) const = default;
};

struct HeadGroups {
  std::vector<int64_t> layers;  // tapped layers, increasing
  int64_t heads_per_layer = 0;
  std::vector<Head> local;       // H_loc, sorted by (layer, head)
  std::vector<Head> global;      // H_glob, sorted by (layer, head)
  std::vector<double> distance;  // [layers * heads] d(l,h) that decided, token
  double local_overlap = 0;      // share of H_loc that Eq. 7 (sink included) would choose too
  double global_overlap = 0;
  int64_t num_sequences = 0;  // calibration sequences with a response

  bool empty() const { return local.empty(); }
  core::Json to_json() const;
  // Errors: kData with `source` and the JSON pointer (missing fields, heads outside the layers, overlapping
  // groups).
  static HeadGroups from_json(const core::Json& json, const std::string& source);
};

// Sorts d(l,h) ([layers * heads], layer by layer) into groups of max(1, floor(3n/10)); ties by (layer, head).
// `layers` increasing. Overlaps are 1 and num_sequences 0. Errors: kConfig for fewer than 2 heads.
HeadGroups make_head_groups(const std::vector<int64_t>& layers, int64_t heads_per_layer,
                            const std::vector<double>& distance);

// Sums over sequences, float64, in the order of add(). The result does not depend on the split into
// micro-batches.
class HeadGroupCalibrator {
 public:
  explicit HeadGroupCalibrator(const RhythmConfig& config) : config_(config) {}

  // layers: the tap's capture of a packed micro-batch, in order of layers, the same ones at every call.
  // cu_seqlens: B + 1; prompt_lengths: B. Sequences without a response (N = P) are skipped.
  void add(const std::vector<kernels::LayerQk>& layers, const std::vector<int64_t>& cu_seqlens,
           const std::vector<int64_t>& prompt_lengths);

  // Sums as plain numbers for an all-reduce over ranks: write back the element-wise sum before finish().
  std::vector<double>& sums() { return sums_; }  // [1 + 2 * layers * heads]: sequences, distance_ns, distance
  int64_t num_sequences() const { return sums_.empty() ? 0 : static_cast<int64_t>(sums_[0]); }

  // Errors: kData when no sequence had a response; kConfig for fewer than 2 heads.
  HeadGroups finish() const;

 private:
  RhythmConfig config_;
  std::vector<int64_t> layers_;
  int64_t heads_ = 0;
  std::vector<double> sums_;
};

// Tapped layers by the setting `layers`. default_layers and all_layers come from the model; all increasing.
// Errors: kConfig for a value that is none of the three forms, an empty list, or a layer that is not in
// all_layers.
std::vector<int64_t> resolve_layers(const RhythmConfig& config, const std::vector<int64_t>& default_layers,
                                    const std::vector<int64_t>& all_layers);
// The same where all layers are 0 .. num_layers - 1.
std::vector<int64_t> resolve_layers(const RhythmConfig& config, const std::vector<int64_t>& default_layers,
                                    int64_t num_layers);

}  // namespace pan::rhythm
