#include "tasks/logic_grid/sizes.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"

namespace pan::tasks::logic_grid {
namespace {

std::string place(const std::string& key, size_t i) { return "/task/" + key + "/" + std::to_string(i); }

SizeWeight parse_size(const std::string& text, const std::string& pointer) {
  const size_t colon = text.find(':');
  SizeWeight out;
  try {
    out.shape = parse_shape(text.substr(0, colon));
  } catch (core::Error& e) {
    throw e.pointer(pointer);
  }
  if (colon == std::string::npos) return out;
  const char* begin = text.data() + colon + 1;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(begin, end, out.weight);
  PAN_CHECK(read.ec == std::errc() && read.ptr == end && std::isfinite(out.weight) && out.weight > 0, kConfig,
            "not a weight of a puzzle size")
      .pointer(pointer)
      .expected("a positive number after the colon, such as 3x3:0.5")
      .got("\"" + text + "\"");
  return out;
}

}  // namespace

std::vector<SizeWeight> parse_sizes(const std::vector<std::string>& texts, const std::string& key) {
  PAN_CHECK(!texts.empty(), kConfig, "no puzzle size is given")
      .pointer("/task/" + key)
      .expected("such as [\"3x3\"]");
  std::vector<SizeWeight> out;
  for (size_t i = 0; i < texts.size(); ++i) out.push_back(parse_size(texts[i], place(key, i)));
  return out;
}

std::vector<SizeStage> parse_curriculum(const std::vector<std::string>& texts) {
  std::vector<SizeStage> stages;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string pointer = place("curriculum", i);
    const std::string& text = texts[i];
    SizeStage stage;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), stage.from);
    size_t at = static_cast<size_t>(read.ptr - text.data());
    const bool follows = stages.empty() ? stage.from == 0 : stage.from > stages.back().from;
    PAN_CHECK(read.ec == std::errc() && at < text.size() && text[at] == ':' && follows, kConfig,
              "not a stage of the curriculum")
        .pointer(pointer)
        .expected(
            "\"from: size size ...\", from 0 in the first stage and growing, such as \"1000: 2x3 3x3:2\"")
        .got("\"" + text + "\"");
    for (++at; at < text.size();) {
      const size_t end = std::min(text.find(' ', at), text.size());
      if (end > at) stage.sizes.push_back(parse_size(text.substr(at, end - at), pointer));
      at = end + 1;
    }
    PAN_CHECK(!stage.sizes.empty(), kConfig, "a stage of the curriculum has no size")
        .pointer(pointer)
        .got(text);
    stages.push_back(std::move(stage));
  }
  return stages;
}

Shape draw_size(const std::vector<SizeWeight>& sizes, core::rng::Stream& stream) {
  double total = 0;
  for (const SizeWeight& s : sizes) total += s.weight;
  double u = stream.uniform() * total;
  for (const SizeWeight& s : sizes) {
    if (u < s.weight) return s.shape;
    u -= s.weight;
  }
  return sizes.back().shape;
}

const std::vector<SizeWeight>& sizes_at(const std::vector<SizeStage>& stages, int64_t index) {
  size_t i = 0;
  while (i + 1 < stages.size() && stages[i + 1].from <= index) ++i;
  return stages[i].sizes;
}

}  // namespace pan::tasks::logic_grid
