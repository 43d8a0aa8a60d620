#include "rhythm/head_groups.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/error.h"

namespace pan::rhythm {
namespace {

// How many heads make up a group of n.
size_t group_size(size_t n) { return std::max<size_t>(1, 3 * n / 10); }

// Lowest and highest k entries of `distance`, as indices in increasing order; ties by index.
std::pair<std::vector<size_t>, std::vector<size_t>> extremes(const std::vector<double>& distance) {
  std::vector<size_t> order(distance.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance[a] < distance[b]; });
  const auto k = static_cast<std::ptrdiff_t>(group_size(order.size()));
  std::vector<size_t> low(order.begin(), order.begin() + k), high(order.end() - k, order.end());
  std::sort(low.begin(), low.end());
  std::sort(high.begin(), high.end());
  return {std::move(low), std::move(high)};
}

double shared(const std::vector<size_t>& a, const std::vector<size_t>& b) {
  std::vector<size_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(a.size());
}

core::Json heads_to_json(const std::vector<Head>& heads) {
  core::Json list = core::Json::array();
  for (const Head& h : heads) list.push_back({h.layer, h.head});
  return list;
}

[[noreturn]] void bad_state(const std::string& source, const std::string& pointer, const std::string& what) {
  throw core::Error(core::ErrorKind::kData, what).where(source).pointer(pointer);
}

std::vector<Head> heads_from_json(const core::Json& json, const char* key, const HeadGroups& groups,
                                  const std::string& source) {
  const std::string pointer = std::string("/") + key;
  const auto list = json.find(key);
  if (list == json.end() || !list->is_array()) bad_state(source, pointer, "head groups lack a list of heads");
  std::vector<Head> heads;
  for (const auto& pair : *list) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_number_integer())
      bad_state(source, pointer, "a head is not a pair [layer, head]");
    const Head h{pair[0].get<int64_t>(), pair[1].get<int64_t>()};
    const bool known = std::binary_search(groups.layers.begin(), groups.layers.end(), h.layer) &&
                       h.head >= 0 && h.head < groups.heads_per_layer;
    if (!known) bad_state(source, pointer, "a head is outside the tapped layers");
    if (!heads.empty() && !(heads.back() < h))
      bad_state(source, pointer, "heads are not sorted or occur twice");
    heads.push_back(h);
  }
  if (heads.empty()) bad_state(source, pointer, "a head group is empty");
  return heads;
}

template <class T>
std::vector<T> numbers_from_json(const core::Json& json, const char* key, const std::string& source) {
  const auto list = json.find(key);
  const std::string pointer = std::string("/") + key;
  if (list == json.end() || !list->is_array())
    bad_state(source, pointer, "head groups lack a list of numbers");
  std::vector<T> values;
  for (const auto& x : *list) {
    if (!(std::is_integral_v<T> ? x.is_number_integer() : x.is_number()))
      bad_state(source, pointer, "head groups hold something that is not a number");
    values.push_back(x.template get<T>());
  }
  return values;
}

}  // namespace

HeadGroups make_head_groups(const std::vector<int64_t>& layers, int64_t heads_per_layer,
                            const std::vector<double>& distance) {
  PAN_CHECK(distance.size() >= 2, kConfig, "head groups need at least 2 tapped heads")
      .pointer("/rhythm/layers")
      .got(std::to_string(distance.size()))
      .remedy("Tap more layers, or set rhythm.enabled to false");
  PAN_CHECK(distance.size() == layers.size() * static_cast<size_t>(heads_per_layer), kInternal,
            "one distance a head is needed")
      .where("rhythm::make_head_groups");
  HeadGroups groups{
      .layers = layers, .heads_per_layer = heads_per_layer, .local = {}, .global = {}, .distance = distance};
  const auto [low, high] = extremes(distance);
  const auto head_of = [&](size_t i) {
    const auto heads = static_cast<size_t>(heads_per_layer);
    return Head{layers[i / heads], static_cast<int64_t>(i % heads)};
  };
  for (const size_t i : low) groups.local.push_back(head_of(i));
  for (const size_t i : high) groups.global.push_back(head_of(i));
  groups.local_overlap = groups.global_overlap = 1;
  return groups;
}

core::Json HeadGroups::to_json() const {
  return {{"layers", layers},
          {"heads_per_layer", heads_per_layer},
          {"local", heads_to_json(local)},
          {"global", heads_to_json(global)},
          {"distance", distance},
          {"local_overlap", local_overlap},
          {"global_overlap", global_overlap},
          {"num_sequences", num_sequences}};
}

HeadGroups HeadGroups::from_json(const core::Json& json, const std::string& source) {
  HeadGroups groups;
  groups.layers = numbers_from_json<int64_t>(json, "layers", source);
  groups.heads_per_layer = core::get_required<int64_t>(json, "/heads_per_layer", source);
  groups.local = heads_from_json(json, "local", groups, source);
  groups.global = heads_from_json(json, "global", groups, source);
  groups.distance = numbers_from_json<double>(json, "distance", source);
  groups.local_overlap = core::get_required<double>(json, "/local_overlap", source);
  groups.global_overlap = core::get_required<double>(json, "/global_overlap", source);
  groups.num_sequences = core::get_required<int64_t>(json, "/num_sequences", source);
  std::vector<Head> both;
  std::set_intersection(groups.local.begin(), groups.local.end(), groups.global.begin(), groups.global.end(),
                        std::back_inserter(both));
  if (!both.empty()) bad_state(source, "/global", "a head is in both groups");
  if (groups.distance.size() != groups.layers.size() * static_cast<size_t>(groups.heads_per_layer))
    bad_state(source, "/distance", "head groups need one distance a head");
  return groups;
}

void HeadGroupCalibrator::add(const std::vector<kernels::LayerQk>& layers,
                              const std::vector<int64_t>& cu_seqlens,
                              const std::vector<int64_t>& prompt_lengths) {
  PAN_CHECK(!layers.empty() && cu_seqlens.size() == prompt_lengths.size() + 1, kInternal,
            "calibration got no layers, or another number of prompts than of sequences")
      .where("rhythm::HeadGroupCalibrator");
  std::vector<int64_t> numbers;
  for (const auto& layer : layers) numbers.push_back(layer.layer);
  if (sums_.empty()) {
    layers_ = numbers;
    heads_ = layers[0].q.size(1);
    sums_.assign(1 + 2 * layers_.size() * static_cast<size_t>(heads_), 0.0);
  }
  PAN_CHECK(numbers == layers_, kInternal, "calibration got other layers than before")
      .where("rhythm::HeadGroupCalibrator");
  const size_t heads = static_cast<size_t>(heads_), all = layers_.size() * heads;
  for (size_t b = 0; b < prompt_lengths.size(); ++b)
    if (cu_seqlens[b + 1] - cu_seqlens[b] > prompt_lengths[b]) sums_[0] += 1;
  for (size_t l = 0; l < layers.size(); ++l) {
    kernels::RowStatsOptions options{
        .scale = layers[l].scale,
        .num_sink = config_.num_sink,
        .waad_window = config_.waad_window,
        .sliding_window = layers[l].sliding_window,
        .select = {.lse = false, .entropy = false, .norm_entropy = false, .waad = false, .sink_mass = false},
        .first_row = prompt_lengths};
    const auto stats = kernels::row_stats(layers[l].q, layers[l].k, cu_seqlens, options);
    const at::Tensor both = at::stack({stats.distance_ns, stats.distance}).cpu();  // [2, H, N]
    const auto rows = both.accessor<float, 3>();
    for (size_t b = 0; b < prompt_lengths.size(); ++b) {
      const int64_t first = cu_seqlens[b] + prompt_lengths[b], last = cu_seqlens[b + 1];
      if (first >= last) continue;
      for (int64_t kind = 0; kind < 2; ++kind) {
        for (int64_t h = 0; h < heads_; ++h) {
          double sum = 0;
          for (int64_t t = first; t < last; ++t) sum += static_cast<double>(rows[kind][h][t]);
          sums_[1 + static_cast<size_t>(kind) * all + l * heads + static_cast<size_t>(h)] +=
              sum / static_cast<double>(last - first);
        }
      }
    }
  }
}

HeadGroups HeadGroupCalibrator::finish() const {
  PAN_CHECK(num_sequences() > 0, kData,
            "no calibration sequence has a response, so heads cannot be sorted into groups")
      .where("rhythm calibration")
      .remedy("Check that the model answers at all, or set rhythm.enabled to false");
  const size_t all = layers_.size() * static_cast<size_t>(heads_);
  std::vector<double> without_sink(all), with_sink(all);
  for (size_t i = 0; i < all; ++i) {
    without_sink[i] = sums_[1 + i] / sums_[0];
    with_sink[i] = sums_[1 + all + i] / sums_[0];
  }
  HeadGroups groups = make_head_groups(layers_, heads_, config_.exclude_sink ? without_sink : with_sink);
  const auto [low, high] = extremes(groups.distance);
  const auto [paper_low, paper_high] = extremes(with_sink);
  groups.local_overlap = shared(low, paper_low);
  groups.global_overlap = shared(high, paper_high);
  groups.num_sequences = num_sequences();
  return groups;
}

std::vector<int64_t> resolve_layers(const RhythmConfig& config, const std::vector<int64_t>& default_layers,
                                    const std::vector<int64_t>& all_layers) {
  const auto refuse = [&](const std::string& expected) {
    return core::Error(core::ErrorKind::kConfig, "layers names no layers to tap")
        .pointer("/rhythm/layers")
        .expected(expected)
        .got(config.layers);
  };
  const core::Json value = core::parse_json(config.layers, "rhythm.layers", core::JsonDialect::kWithComments);
  if (value == "default") return default_layers;
  if (value == "all") return all_layers;
  if (!value.is_array() || value.empty()) throw refuse("\"default\", \"all\" or a list of layer numbers");
  std::vector<int64_t> layers;
  for (const auto& x : value) {
    if (!x.is_number_integer()) throw refuse("whole numbers");
    layers.push_back(x.get<int64_t>());
    if (std::find(all_layers.begin(), all_layers.end(), layers.back()) == all_layers.end())
      throw refuse("layers from 0 to " + std::to_string(all_layers.empty() ? -1 : all_layers.back()));
  }
  std::sort(layers.begin(), layers.end());
  if (std::adjacent_find(layers.begin(), layers.end()) != layers.end()) throw refuse("every layer once");
  return layers;
}

std::vector<int64_t> resolve_layers(const RhythmConfig& config, const std::vector<int64_t>& default_layers,
                                    int64_t num_layers) {
  std::vector<int64_t> all(static_cast<size_t>(num_layers));
  std::iota(all.begin(), all.end(), int64_t{0});
  return resolve_layers(config, default_layers, all);
}

}  // namespace pan::rhythm
