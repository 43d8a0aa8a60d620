// The committed oracle of the rhythm tests in C++ types; see tests/fixtures/rhythm/README.md.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json.h"
#include "rhythm/measure.h"
#include "rhythm/reward.h"
#include "support/support.h"

namespace pan::rhythm::testing {

inline constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

inline double number(const core::Json& x) { return x.is_null() ? kMissing : x.get<double>(); }
inline std::vector<double> numbers(const core::Json& list) {
  std::vector<double> out;
  for (const auto& x : list) out.push_back(number(x));
  return out;
}
inline std::vector<int64_t> integers(const core::Json& list) { return list.get<std::vector<int64_t>>(); }

inline at::Tensor floats(const std::string& bytes, int64_t& offset, const std::vector<int64_t>& shape) {
  at::Tensor x = at::empty(shape, at::kFloat);
  if (offset + x.numel() * 4 > static_cast<int64_t>(bytes.size()))
    throw std::runtime_error("fixture too short");
  std::memcpy(x.data_ptr<float>(), bytes.data() + offset, static_cast<size_t>(x.numel()) * 4);
  offset += x.numel() * 4;
  return x;
}

inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

struct Fixture {
  core::Json json;
  std::vector<kernels::LayerQk> layers;  // all sequences packed
  std::vector<int64_t> cu_seqlens{0};
  std::vector<int64_t> prompt_lengths;
  std::vector<SequenceText> texts;
  std::vector<std::vector<double>> token_entropy;
  at::Tensor stats;  // [names, layers, heads, N]

  // Some of the sequences as a packed batch of their own.
  Fixture only(const std::vector<size_t>& indices) const {
    Fixture f;
    for (const auto& qk : layers) {
      std::vector<at::Tensor> q, k;
      for (const size_t i : indices) {
        q.push_back(qk.q.slice(0, cu_seqlens[i], cu_seqlens[i + 1]));
        k.push_back(qk.k.slice(0, cu_seqlens[i], cu_seqlens[i + 1]));
      }
      f.layers.push_back({.layer = qk.layer, .q = at::cat(q), .k = at::cat(k), .scale = qk.scale});
    }
    for (const size_t i : indices) {
      f.cu_seqlens.push_back(f.cu_seqlens.back() + cu_seqlens[i + 1] - cu_seqlens[i]);
      f.prompt_lengths.push_back(prompt_lengths[i]);
      f.texts.push_back(texts[i]);
      f.token_entropy.push_back(token_entropy[i]);
    }
    return f;
  }
};

inline const Fixture& the_fixture() {
  static const Fixture fixture = [] {
    Fixture f;
    f.json = core::read_json_file(pan::testing::fixture("rhythm/rhythm.json"));
    const auto& layout = f.json["layout"];
    const auto numbers_of_layers = integers(layout["layers"]);
    const auto num_layers = static_cast<int64_t>(numbers_of_layers.size());
    const int64_t n = layout["num_tokens"], heads = layout["heads"], size = layout["head_size"];
    const std::string qk = pan::testing::read_text(pan::testing::fixture("rhythm/qk.bin"));
    int64_t offset = 0;
    const at::Tensor q = floats(qk, offset, {num_layers, n, heads, size});
    const at::Tensor k = floats(qk, offset, {num_layers, n, layout["key_heads"].get<int64_t>(), size});
    for (int64_t l = 0; l < num_layers; ++l)
      f.layers.push_back({.layer = numbers_of_layers[static_cast<size_t>(l)],
                          .q = q[l],
                          .k = k[l],
                          .scale = layout["scale"].get<double>()});
    offset = 0;
    f.stats = floats(pan::testing::read_text(pan::testing::fixture("rhythm/stats.bin")), offset,
                     {static_cast<int64_t>(layout["stats"].size()), num_layers, heads, n});
    for (const auto& x : f.json["texts"]) {
      SequenceText text;
      text.prompt_length = x["prompt_length"];
      for (const auto& hex : x["token_hex"]) text.token_bytes.push_back(from_hex(hex));
      for (const auto& mark : x["special"]) text.special.push_back(mark.get<int>() != 0);
      f.cu_seqlens.push_back(f.cu_seqlens.back() + text.num_tokens());
      f.prompt_lengths.push_back(text.prompt_length);
      f.texts.push_back(std::move(text));
      f.token_entropy.push_back(numbers(x["token_entropy"]));
    }
    return f;
  }();
  return fixture;
}

inline Head head_of(const Fixture& f, int64_t index) {
  const int64_t heads = f.json["layout"]["heads"];
  return {f.layers[static_cast<size_t>(index / heads)].layer, index % heads};
}

// The groups the specification finds, without the code under test.
inline HeadGroups expected_groups(const Fixture& f, const std::string& name) {
  const auto& g = f.json["groups"][name];
  HeadGroups groups;
  for (const auto& qk : f.layers) groups.layers.push_back(qk.layer);
  groups.heads_per_layer = f.json["layout"]["heads"];
  for (const int64_t i : integers(g["local"])) groups.local.push_back(head_of(f, i));
  for (const int64_t i : integers(g["global"])) groups.global.push_back(head_of(f, i));
  groups.distance = numbers(g["distance"]);
  return groups;
}

inline SequenceRhythm expected_sequence(const core::Json& x) {
  SequenceRhythm r;
  r.num_tokens = x["num_tokens"];
  r.prompt_length = x["prompt"];
  r.waad = numbers(x["waad"]);
  r.norm_entropy = numbers(x["norm_entropy"]);
  r.fai = numbers(x["fai"]);
  r.repeated_8grams = number(x["repeated_8grams"]);
  const auto missing = std::vector<double>(static_cast<size_t>(r.num_tokens), kMissing);
  if (r.waad.empty()) r.waad = r.fai = r.norm_entropy = missing;  // made-up steps
  for (const auto& s : x["steps"]) {
    StepRhythm step;
    step.step = {.begin = s["begin"], .end = s["end"], .preplan_end = s["preplan_end"]};
    step.anchors = integers(s["anchors"]);
    step.repeated = s["repeated"];
    for (const size_t phase : {kPreplan, kAnchor}) {
      step.preplan_entropy[phase] = number(s["preplan_entropy"][phase]);
      step.anchor_concentration[phase] = number(s["anchor_concentration"][phase]);
    }
    r.steps.push_back(std::move(step));
  }
  return r;
}

}  // namespace pan::rhythm::testing
