#include "rhythm/steps.h"

#include <algorithm>
#include <string>
#include <unordered_set>

#include "core/error.h"
#include "rhythm/credit.h"

namespace pan::rhythm {
namespace {

// Tokens of the response after which a step may end. `after[i]` belongs to position P + i.
using Boundaries = std::vector<char>;

// One walk over the response's bytes: ends of white space with a newline in it and, where asked for, ends of
// sentences.
Boundaries textual_boundaries(const SequenceText& text, bool sentences) {
  Boundaries after(static_cast<size_t>(text.num_tokens() - text.prompt_length), 0);
  char previous = '\0';
  bool newline_in_run = false;
  size_t last_space = 0;  // token of the last byte of the present run of white space
  for (size_t i = 0; i < after.size(); ++i) {
    for (const char c : text.token_bytes[static_cast<size_t>(text.prompt_length) + i]) {
      if (is_space(c)) {
        newline_in_run = newline_in_run || c == '\n';
        last_space = i;
      } else {
        if (newline_in_run) after[last_space] = 1;
        newline_in_run = false;
      }
      const bool stop = previous == '.' || previous == '!' || previous == '?';
      if (sentences && stop && c == ' ') after[i] = 1;
      previous = c;
    }
  }
  if (newline_in_run) after[last_space] = 1;
  return after;
}

// A step starts where the mean distance of the local heads jumps and peaks.
Boundaries waad_boundaries(const SequenceText& text, const std::vector<double>& waad, double q) {
  const int64_t begin = text.prompt_length, num_tokens = text.num_tokens();
  PAN_CHECK(static_cast<int64_t>(waad.size()) == num_tokens, kInternal,
            "waad has another length than the text")
      .where("rhythm::cut_steps")
      .expected(std::to_string(num_tokens))
      .got(std::to_string(waad.size()));
  Boundaries after(static_cast<size_t>(num_tokens - begin), 0);
  for (const int64_t jump : top_q(waad_jumps(waad, begin), begin, num_tokens, q)) {
    const auto t = static_cast<size_t>(jump + 1);  // the step would start here
    if (jump + 1 > num_tokens - 2) continue;
    if (waad[t] > waad[t - 1] && waad[t] >= waad[t + 1]) after[static_cast<size_t>(jump - begin)] = 1;
  }
  return after;
}

// Joins runs with too few content tokens to the next one, the last to the previous one.
std::vector<Step> join_short(const SequenceText& text, const Boundaries& after, int64_t min_content) {
  std::vector<Step> steps;
  int64_t begin = text.prompt_length, content = 0;
  for (int64_t t = begin; t < text.num_tokens(); ++t) {
    content += is_content(text.token_bytes[static_cast<size_t>(t)]) ? 1 : 0;
    if (after[static_cast<size_t>(t - text.prompt_length)] && content >= min_content) {
      steps.push_back({.begin = begin, .end = t});
      begin = t + 1;
      content = 0;
    }
  }
  const int64_t last = text.num_tokens() - 1;
  if (begin > last) return steps;
  if (content < min_content && !steps.empty())
    steps.back().end = last;
  else
    steps.push_back({.begin = begin, .end = last});
  return steps;
}

}  // namespace

std::vector<Step> cut_steps(const SequenceText& text, const RhythmConfig& config,
                            const std::vector<double>& waad) {
  PAN_CHECK(text.special.size() == text.token_bytes.size() && text.prompt_length >= 0 &&
                text.prompt_length <= text.num_tokens(),
            kInternal, "the parts of a sequence's text do not belong together")
      .where("rhythm::cut_steps")
      .got(std::to_string(text.token_bytes.size()) + " tokens, " + std::to_string(text.special.size()) +
           " marks, prompt of " + std::to_string(text.prompt_length));
  if (text.prompt_length == text.num_tokens()) return {};
  const Boundaries after = config.steps == StepRule::kWaad
                               ? waad_boundaries(text, waad, config.step_q)
                               : textual_boundaries(text, config.steps == StepRule::kSentence);
  std::vector<Step> steps = join_short(text, after, config.min_content_tokens);
  const PreplanConfig& preplan = config.preplan;
  for (Step& s : steps) {
    const int64_t wanted =
        std::clamp(ceil_fraction(preplan.fraction, s.size()), preplan.min_tokens, preplan.max_tokens);
    s.preplan_end = s.begin + std::min(wanted, s.size()) - 1;
  }
  return steps;
}

std::vector<char> repeated_steps(const SequenceText& text, const std::vector<Step>& steps) {
  std::unordered_set<std::string> seen;
  std::vector<char> repeated;
  for (const Step& s : steps) {
    std::string bytes;
    for (int64_t t = s.begin; t <= s.end; ++t) bytes += text.token_bytes[static_cast<size_t>(t)];
    repeated.push_back(seen.emplace(trim(bytes)).second ? 0 : 1);
  }
  return repeated;
}

}  // namespace pan::rhythm
