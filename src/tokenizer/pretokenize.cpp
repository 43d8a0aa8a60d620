#include "tokenizer/pretokenize.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {

class PreTokenizer::Step {
 public:
  virtual ~Step() = default;
  virtual void apply(std::string_view piece, Pieces& out) const = 0;
};

namespace {

using core::Json;

// Radford et al., "Language models are unsupervised multitask learners", 2019: contractions, then words,
// numbers and other signs with at most one space before them, then white space.
constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Span {
  size_t begin, end;
  bool match;
};

enum class Behaviour { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Joins neighbours of `spans` (which cover the text) as the behaviour says.
std::vector<Span> joined(const std::vector<Span>& spans, Behaviour behaviour) {
  std::vector<Span> out;
  bool previous_match = false;
  if (behaviour == Behaviour::kMergedWithNext) {
    for (size_t i = spans.size(); i-- > 0;) {
      const Span& s = spans[i];
      if (s.match && !previous_match && !out.empty()) {
        out.back().begin = s.begin;
      } else {
        out.push_back(s);
      }
      previous_match = s.match;
    }
    return {out.rbegin(), out.rend()};
  }
  for (const Span& s : spans) {
    const bool merge =
        !out.empty() && (behaviour == Behaviour::kContiguous           ? s.match == previous_match
                         : behaviour == Behaviour::kMergedWithPrevious ? s.match && !previous_match
                                                                       : false);
    if (merge) {
      out.back().end = s.end;
    } else {
      out.push_back(s);
    }
    previous_match = s.match;
  }
  return out;
}

void emit(std::string_view piece, const std::vector<Span>& spans, Behaviour behaviour, Pieces& out) {
  const bool plain = behaviour == Behaviour::kIsolated || behaviour == Behaviour::kRemoved;
  for (const Span& s : plain ? spans : joined(spans, behaviour)) {
    if (s.end > s.begin && !(s.match && behaviour == Behaviour::kRemoved)) {
      out.views.push_back(piece.substr(s.begin, s.end - s.begin));
    }
  }
}

class SplitStep : public PreTokenizer::Step {
 public:
  SplitStep(std::shared_ptr<const Regex> regex, std::string literal, Behaviour behaviour, bool invert)
      : regex_(std::move(regex)), literal_(std::move(literal)), behaviour_(behaviour), invert_(invert) {}

  void apply(std::string_view piece, Pieces& out) const override {
    if (behaviour_ == Behaviour::kIsolated) return apply_isolated(piece, out);
    std::vector<Span> spans;
    size_t covered = 0;
    for_each_match(piece, [&](size_t begin, size_t end) {
      if (begin > covered) spans.push_back({covered, begin, invert_});
      spans.push_back({begin, end, !invert_});
      covered = end;
    });
    if (covered < piece.size()) spans.push_back({covered, piece.size(), invert_});
    emit(piece, spans, behaviour_, out);
  }

 private:
  // The usual case: matches and what lies between them are pieces alike.
  void apply_isolated(std::string_view piece, Pieces& out) const {
    size_t covered = 0;
    const auto push = [&](size_t begin, size_t end) {
      if (end > begin) out.views.push_back(piece.substr(begin, end - begin));
    };
    for_each_match(piece, [&](size_t begin, size_t end) {
      push(covered, begin);
      push(begin, end);
      covered = end;
    });
    push(covered, piece.size());
  }

  template <class Visit>
  void for_each_match(std::string_view piece, const Visit& visit) const {
    if (regex_) return regex_->for_each_match(piece, visit);
    if (literal_.empty()) return;
    for (size_t at = piece.find(literal_); at != std::string_view::npos;
         at = piece.find(literal_, at + literal_.size())) {
      visit(at, at + literal_.size());
    }
  }

  std::shared_ptr<const Regex> regex_;  // null: literal_
  std::string literal_;
  Behaviour behaviour_;
  bool invert_;
};

class DigitsStep : public PreTokenizer::Step {
 public:
  explicit DigitsStep(bool individual) : individual_(individual) {}

  void apply(std::string_view piece, Pieces& out) const override {
    size_t begin = 0;  // of the piece that is still growing
    bool in_digits = false;
    const auto flush = [&](size_t end) {
      if (end > begin) out.views.push_back(piece.substr(begin, end - begin));
      begin = end;
    };
    for (size_t at = 0; at < piece.size();) {
      const size_t start = at;
      const bool digit = is_numeric(next_char(piece, at));
      if (digit != in_digits || (digit && individual_)) flush(start);
      in_digits = digit;
    }
    flush(piece.size());
  }

 private:
  bool individual_;
};

class ByteLevelStep : public PreTokenizer::Step {
 public:
  ByteLevelStep(bool prefix_space, bool use_regex, const std::string& source) : prefix_space_(prefix_space) {
    if (use_regex) {
      split_ = std::make_shared<SplitStep>(std::make_shared<const Regex>(kGpt2Pattern, source), "",
                                           Behaviour::kIsolated, false);
    }
  }

  void apply(std::string_view piece, Pieces& out) const override {
    if (prefix_space_ && piece.front() != ' ') piece = out.owned.emplace_back(" " + std::string(piece));
    if (split_) return split_->apply(piece, out);
    out.views.push_back(piece);
  }

 private:
  bool prefix_space_;
  std::shared_ptr<const SplitStep> split_;
};

Behaviour behaviour_of(const std::string& name, const std::string& source, const std::string& pointer) {
  if (name == "Removed") return Behaviour::kRemoved;
  if (name == "Isolated") return Behaviour::kIsolated;
  if (name == "MergedWithPrevious") return Behaviour::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behaviour::kMergedWithNext;
  if (name == "Contiguous") return Behaviour::kContiguous;
  throw core::Error(core::ErrorKind::kData, "unknown behaviour of a Split pre-tokenizer")
      .where(source)
      .pointer(pointer)
      .expected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous")
      .got(name);
}

std::shared_ptr<const PreTokenizer::Step> split_step(const Json& json, const std::string& source,
                                                     const std::string& pointer) {
  const auto behaviour =
      behaviour_of(core::get_required<std::string>(json, "/behavior", source), source, pointer + "/behavior");
  const bool invert = core::get_or<bool>(json, "/invert", source, false);
  const auto pattern = json.find("pattern");
  PAN_CHECK(pattern != json.end() && pattern->is_object() && pattern->size() == 1, kData,
            "a Split pre-tokenizer has no pattern")
      .where(source)
      .pointer(pointer + "/pattern")
      .expected("{\"Regex\": text} or {\"String\": text}");
  if (pattern->contains("String")) {
    return std::make_shared<SplitStep>(nullptr, core::get_required<std::string>(*pattern, "/String", source),
                                       behaviour, invert);
  }
  const auto text = core::get_required<std::string>(*pattern, "/Regex", source);
  return std::make_shared<SplitStep>(std::make_shared<const Regex>(text, source), "", behaviour, invert);
}

}  // namespace

PreTokenizer::PreTokenizer(const Json& json, const std::string& source) : source_(source) {
  if (!json.is_null()) add(json, "/pre_tokenizer");
}

void PreTokenizer::add(const Json& json, const std::string& pointer) {
  PAN_CHECK(json.is_object(), kData, "a pre-tokenizer must be an object").where(source_).pointer(pointer);
  const auto type = core::get_required<std::string>(json, "/type", source_);
  if (type == "Sequence") {
    const auto list = json.find("pretokenizers");
    PAN_CHECK(list != json.end() && list->is_array(), kData, "a Sequence pre-tokenizer has no list")
        .where(source_)
        .pointer(pointer + "/pretokenizers");
    for (size_t i = 0; i < list->size(); ++i)
      add((*list)[i], pointer + "/pretokenizers/" + std::to_string(i));
    return;
  }
  PAN_CHECK(!byte_level_, kData, "a pre-tokenizer after ByteLevel is not supported")
      .where(source_)
      .pointer(pointer)
      .got(type);
  if (type == "ByteLevel") {
    steps_.push_back(
        std::make_shared<ByteLevelStep>(core::get_or<bool>(json, "/add_prefix_space", source_, true),
                                        core::get_or<bool>(json, "/use_regex", source_, true), source_));
    byte_level_ = true;
  } else if (type == "Digits") {
    steps_.push_back(
        std::make_shared<DigitsStep>(core::get_or<bool>(json, "/individual_digits", source_, false)));
  } else if (type == "Split") {
    steps_.push_back(split_step(json, source_, pointer));
  } else {
    throw core::Error(core::ErrorKind::kData, "pre-tokenizer of type " + type + " is not supported")
        .where(source_)
        .pointer(pointer)
        .expected("ByteLevel, Digits, Split or a Sequence of them");
  }
}

void PreTokenizer::split(std::string_view text, Pieces& out) const {
  if (text.empty()) return;
  if (steps_.empty()) {
    out.views.push_back(text);
    return;
  }
  std::vector<std::string_view> current{text};
  for (size_t i = 0; i < steps_.size(); ++i) {
    const bool last = i + 1 == steps_.size();
    Pieces step_out;
    Pieces& target = last ? out : step_out;
    for (const auto piece : current) steps_[i]->apply(piece, target);
    if (!last)
      current = std::move(step_out.views);  // only ByteLevel, always the last step, makes text of its own
  }
}

}  // namespace pan::tokenizer
