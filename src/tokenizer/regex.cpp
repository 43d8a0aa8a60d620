#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>

#include "core/error.h"

namespace pan::tokenizer {
namespace {

// Oniguruma's \s is the Unicode property White_Space; PCRE2's also has U+180E.
constexpr const char* kSpaceClass = "\\t-\\r\\x{85}\\p{Z}";

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& source) : in_(pattern), source_(source) {}

  std::string run() {
    while (at_ < in_.size()) step();
    if (in_class_) refuse("a character class that is not closed");
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw core::Error(core::ErrorKind::kData,
                      "a split pattern of the tokenizer uses " + what + ", which is not supported")
        .where(source_)
        .got(in_)
        .remedy("Use a tokenizer whose pre-tokenizer is one of the supported ones (GPT-2, Qwen, Llama 3)");
  }

  bool next_is(std::string_view text) const { return in_.compare(at_, text.size(), text) == 0; }
  void copy(size_t n) {
    out_.append(in_, at_, n);
    at_ += n;
  }

  void step() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (in_class_) return class_char(c);
    if (c == '[') {
      in_class_ = true;
      copy(1);
      if (next_is("^")) copy(1);
      if (next_is("]")) refuse("an unescaped ] at the start of a class");
      return;
    }
    if (c == '(') return group();
    if (c == '{') return interval();
    copy(1);
  }

  void class_char(char c) {
    if (c == '[') refuse("a class within a class");
    if (next_is("&&")) refuse("an intersection of classes (&&)");
    if (c == ']') in_class_ = false;
    copy(1);
  }

  void group() {
    static constexpr std::array<std::string_view, 8> kKnown = {
        "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i)", "(?i:"};
    if (!next_is("(?")) return copy(1);
    for (const auto known : kKnown) {
      if (next_is(known)) return copy(known.size());
    }
    refuse("the group '" + in_.substr(at_, 4) + "'");
  }

  // {n}, {n,}, {n,m}: the engines agree on these alone.
  void interval() {
    const size_t close = in_.find('}', at_);
    if (close == std::string::npos || at_ + 1 >= in_.size()) refuse("an unescaped {");
    bool digit_first = std::isdigit(static_cast<unsigned char>(in_[at_ + 1])) != 0;
    bool comma = false;
    for (size_t i = at_ + 1; i < close; ++i) {
      if (in_[i] == ',') {
        if (comma) digit_first = false;
        comma = true;
      } else if (std::isdigit(static_cast<unsigned char>(in_[i])) == 0) {
        digit_first = false;
      }
    }
    if (!digit_first) refuse("the interval '" + in_.substr(at_, close - at_ + 1) + "'");
    copy(close - at_ + 1);
    if (next_is("+")) refuse("a repeated interval ('}+')");
    if (!comma && next_is("?")) refuse("the interval '{n}?'");
  }

  void escape() {
    if (at_ + 1 >= in_.size()) refuse("a backslash at its end");
    const char c = in_[at_ + 1];
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) return copy(2);
    switch (c) {
      case 'n':
      case 'r':
      case 't':
      case 'f':
        return copy(2);
      case 'p':
      case 'P':
        return property();
      case 'x':
      case 'u':
        return code_point(c);
      case 's':
      case 'S':
        return space(c == 'S');
      case 'd':
        out_ += "\\p{Nd}";
        break;
      case 'D':
        out_ += "\\P{Nd}";
        break;
      default:
        refuse(std::string("the escape '\\") + c + "'");
    }
    at_ += 2;
  }

  void space(bool negated) {
    if (in_class_) {
      if (negated) refuse("\\S within a class");
      out_ += kSpaceClass;
    } else {
      out_ += std::string(negated ? "[^" : "[") + kSpaceClass + "]";
    }
    at_ += 2;
  }

  void property() {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string::npos)
      refuse("\\p without a name in braces");
    copy(close - at_ + 1);
  }

  // \xHH, \x{H...}, \uHHHH
  void code_point(char kind) {
    size_t begin = at_ + 2, end = begin;
    if (kind == 'x' && begin < in_.size() && in_[begin] == '{') {
      ++begin;
      end = in_.find('}', begin);
      if (end == std::string::npos) refuse("\\x{ that is not closed");
      at_ = end + 1;
    } else {
      end = begin + (kind == 'x' ? 2 : 4);
      at_ = end;
    }
    if (end > in_.size() || begin == end) refuse("an incomplete code point");
    for (size_t i = begin; i < end; ++i) {
      if (std::isxdigit(static_cast<unsigned char>(in_[i])) == 0) refuse("an incomplete code point");
    }
    out_ += "\\x{" + in_.substr(begin, end - begin) + "}";
  }

  const std::string& in_;
  const std::string& source_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  if (pcre2_get_error_message(code, text.data(), text.size()) < 0) return "error " + std::to_string(code);
  return reinterpret_cast<const char*>(text.data());
}

// What a match needs besides the pattern; one per thread.
struct Scratch {
  Scratch() {
    data = pcre2_match_data_create(1, nullptr);
    context = pcre2_match_context_create(nullptr);
    stack = pcre2_jit_stack_create(64 << 10, 16 << 20, nullptr);
    PAN_CHECK(data != nullptr && context != nullptr && stack != nullptr, kDevice, "out of memory");
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, 1u << 30);
  }
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
  pcre2_jit_stack* stack;
};

}  // namespace

struct Regex::Code {
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled = nullptr;
};

std::string translate_pattern(const std::string& pattern, const std::string& source) {
  return Translator(pattern, source).run();
}

Regex::Regex(const std::string& pattern, const std::string& source) : pattern_(pattern), source_(source) {
  const std::string translated = translate_pattern(pattern, source);
  auto code = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  // MULTILINE: ^ and $ match at every line, as in the engine the pattern was written for.
  code->compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, nullptr);
  PAN_CHECK(code->compiled != nullptr, kData, "a split pattern of the tokenizer cannot be compiled")
      .where(source)
      .pointer("offset " + std::to_string(offset) + " of '" + translated + "'")
      .got(message_of(error));
  pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);  // where it fails the interpreter does the work
  code_ = std::move(code);
}

void Regex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& visit) const {
  thread_local Scratch scratch;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  uint32_t not_empty = 0;  // after an empty match: the next one must not be empty at the same place
  while (at <= text.size()) {
    const uint32_t options = PCRE2_NO_UTF_CHECK | not_empty;
    int found =
        pcre2_match(code_->compiled, subject, text.size(), at, options, scratch.data, scratch.context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its state on the heap
      found = pcre2_match(code_->compiled, subject, text.size(), at, options | PCRE2_NO_JIT, scratch.data,
                          scratch.context);
    }
    if (found == PCRE2_ERROR_NOMATCH) {
      if (not_empty == 0) return;
      not_empty = 0;
      do ++at;
      while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
      continue;
    }
    PAN_CHECK(found >= 0, kData, "the tokenizer's split pattern gave up on a text")
        .where(source_)
        .pointer("byte " + std::to_string(at))
        .got(message_of(found));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(scratch.data);
    visit(span[0], span[1]);
    at = span[1];
    not_empty = span[0] == span[1] ? PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED : 0;
  }
}

}  // namespace pan::tokenizer
