#include "tasks/jsonl/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "core/error.h"

namespace pan::tasks::jsonl {
namespace {

constexpr uint32_t kMatchLimit = 200000;  // steps of backtracking per match
constexpr uint32_t kHeapLimitKib = 16 * 1024;
constexpr int kMostMatches = 10000;
// Characters instead of bytes, Unicode's letters and digits in \w and \d; invalid bytes match nothing.
constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF;

struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeContext> context;
};

Pattern::Pattern(const std::string& pattern) : compiled_(std::make_unique<Compiled>()) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), kOptions,
                                      &error, &offset, nullptr));
  if (compiled_->code == nullptr) {
    PCRE2_UCHAR message[160] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    PAN_CHECK(false, kConfig, "the pattern is not a regular expression")
        .pointer("/task/pattern, character " + std::to_string(offset + 1))
        .got(reinterpret_cast<const char*>(message));
  }
  compiled_->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(compiled_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(compiled_->context.get(), kHeapLimitKib);
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;

std::optional<std::string> Pattern::find_last(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, FreeData> data(
      pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  std::optional<std::string> last;
  PCRE2_SIZE at = 0;
  for (int matches = 0; at <= text.size(); ++matches) {
    const int groups = pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                   text.size(), at, 0, data.get(), compiled_->context.get());
    if (groups == PCRE2_ERROR_NOMATCH) return last;
    if (groups < 0 || matches >= kMostMatches) return std::nullopt;
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    const int group = groups > 1 && span[2] != PCRE2_UNSET ? 1 : 0;
    const PCRE2_SIZE begin = span[2 * group], end = span[2 * group + 1];
    if (begin > end || end > text.size()) return std::nullopt;  // \K can turn a match round
    last = std::string(text.substr(begin, end - begin));
    at = std::max(at, span[1] > span[0] ? span[1] - 1 : span[1]) + 1;  // always moves on
    while (at < text.size() && is_continuation(text[at])) ++at;        // by whole characters
  }
  return last;
}

}  // namespace pan::tasks::jsonl
