#include "tokenizer/normalize.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

using core::Json;

// The fixed string that a Replace step looks for.
std::string fixed_pattern(const Json& json, const std::string& source, const std::string& pointer) {
  const auto pattern = json.find("pattern");
  PAN_CHECK(pattern != json.end() && pattern->is_object() && pattern->contains("String"), kData,
            "a Replace step whose pattern is not a fixed string is not supported")
      .where(source)
      .pointer(pointer + "/pattern")
      .expected("{\"String\": text}");
  const auto text = core::get_required<std::string>(*pattern, "/String", source);
  PAN_CHECK(!text.empty(), kData, "a Replace step looks for an empty string")
      .where(source)
      .pointer(pointer + "/pattern");
  return text;
}

const Json& list_of(const Json& json, const char* key, const std::string& source,
                    const std::string& pointer) {
  const auto list = json.find(key);
  PAN_CHECK(list != json.end() && list->is_array(), kData, "a Sequence has no list")
      .where(source)
      .pointer(pointer + "/" + key);
  return *list;
}

std::string type_of(const Json& json, const std::string& source, const std::string& pointer) {
  PAN_CHECK(json.is_object(), kData, "a component of a tokenizer must be an object")
      .where(source)
      .pointer(pointer);
  return core::get_required<std::string>(json, "/type", source);
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, done)) {
    out.append(text.substr(done, at - done)).append(to);
    done = at + from.size();
  }
  return out.append(text.substr(done));
}

Normalizer::Normalizer(const Json& json, const std::string& source) {
  if (!json.is_null()) add(json, source, "/normalizer");
}

void Normalizer::add(const Json& json, const std::string& source, const std::string& pointer) {
  const auto type = type_of(json, source, pointer);
  if (type == "Sequence") {
    const Json& list = list_of(json, "normalizers", source, pointer);
    for (size_t i = 0; i < list.size(); ++i)
      add(list[i], source, pointer + "/normalizers/" + std::to_string(i));
  } else if (type == "NFC") {
    steps_.push_back({Kind::kNfc, "", ""});
  } else if (type == "Replace") {
    steps_.push_back({Kind::kReplace, fixed_pattern(json, source, pointer),
                      core::get_required<std::string>(json, "/content", source)});
  } else if (type == "Prepend") {
    steps_.push_back({Kind::kPrepend, "", core::get_required<std::string>(json, "/prepend", source)});
  } else {
    throw core::Error(core::ErrorKind::kData, "normaliser of type " + type + " is not supported")
        .where(source)
        .pointer(pointer)
        .expected("NFC, Replace, Prepend or a Sequence of them");
  }
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kNfc:
        out = to_nfc(out);
        break;
      case Kind::kReplace:
        out = replace_all(out, step.from, step.to);
        break;
      case Kind::kPrepend:
        if (!out.empty()) out.insert(0, step.to);
        break;
    }
  }
  return out;
}

Decoder::Decoder(const Json& json, const std::string& source) {
  PAN_CHECK(json.is_object(), kData, "a tokenizer without a decoder is not supported")
      .where(source)
      .pointer("/decoder");
  add(json, source, "/decoder");
}

void Decoder::add(const Json& json, const std::string& source, const std::string& pointer) {
  const auto type = type_of(json, source, pointer);
  if (type == "Sequence") {
    const Json& list = list_of(json, "decoders", source, pointer);
    for (size_t i = 0; i < list.size(); ++i) add(list[i], source, pointer + "/decoders/" + std::to_string(i));
  } else if (type == "ByteLevel") {
    byte_level = true;
  } else if (type == "Replace" && !fused_ && !byte_fallback) {
    replaces.emplace_back(fixed_pattern(json, source, pointer),
                          core::get_required<std::string>(json, "/content", source));
  } else if (type == "ByteFallback" && !fused_) {
    byte_fallback = true;
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Strip" && fused_ && strip.empty() &&
             core::get_or<int64_t>(json, "/stop", source, 0) == 0) {
    strip = core::get_required<std::string>(json, "/content", source);
    strip_count = core::get_or<int64_t>(json, "/start", source, 0);
  } else {
    throw core::Error(core::ErrorKind::kData, "decoder of type " + type + " is not supported here")
        .where(source)
        .pointer(pointer)
        .expected(
            "ByteLevel, or a Sequence of Replace, ByteFallback, Fuse, Strip (start only) in this order");
  }
}

}  // namespace pan::tokenizer
