#include "tokenizer/template_detect.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <set>
#include <string_view>

namespace pan::tokenizer {
namespace {

// A literal of Jinja that starts at the quote `at`; `at` moves behind it.
std::string read_literal(const std::string& text, size_t& at) {
  const char quote = text[at++];
  std::string out;
  for (; at < text.size() && text[at] != quote; ++at) {
    if (text[at] != '\\' || at + 1 >= text.size()) {
      out += text[at];
      continue;
    }
    const char c = text[++at];
    out += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
  }
  if (at < text.size()) ++at;
  return out;
}

bool is_blank(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c) != 0; });
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool code_has(const JinjaParts& parts, std::string_view word) { return contains(parts.code, word); }
bool code_has_any(const JinjaParts& parts, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](auto w) { return code_has(parts, w); });
}
bool writes(const JinjaParts& parts, std::string_view literal) {
  return std::find(parts.literals.begin(), parts.literals.end(), literal) != parts.literals.end();
}
bool mentions(const JinjaParts& parts, std::string_view text) {
  return std::any_of(parts.literals.begin(), parts.literals.end(),
                     [&](const auto& l) { return contains(l, text); });
}

// Text that is written only when a conversation has tools, which ours never have.
bool is_about_tools(const std::string& literal) {
  static const std::set<std::string> kParts = {"\", \"arguments\": ", "}",   "{", "\"", ", ", "function",
                                               "arguments",           "name"};
  return kParts.count(literal) > 0 || contains(literal, "tool") || contains(literal, "Tool") ||
         contains(literal, "function");
}

bool is_chatml_literal(const std::string& literal) {
  static const std::set<std::string> kKnown = {"<|im_start|>",
                                               "<|im_end|>",
                                               "<|im_end|>\n",
                                               "\n",
                                               "\n\n",
                                               "",
                                               "<|im_start|>assistant\n",
                                               "<|im_start|>system\n",
                                               "<|im_start|>user\n",
                                               "<|im_start|>user",
                                               "system",
                                               "user",
                                               "assistant",
                                               "role",
                                               "content"};
  return kKnown.count(literal) > 0 || is_blank(literal) || is_about_tools(literal);
}

bool is_qwen3_literal(const std::string& literal) {
  static const std::set<std::string> kKnown = {
      "<think>", "</think>", "\n<think>\n", "\n</think>\n\n", "<think>\n\n</think>\n\n", "reasoning_content"};
  return kKnown.count(literal) > 0 || is_chatml_literal(literal);
}

// "<|im_start|>system\nTEXT<|im_end|>\n" as one literal is a default system text.
std::optional<std::string> default_system_of(const std::string& literal) {
  static const std::string kBegin = "<|im_start|>system\n", kEnd = "<|im_end|>\n";
  if (literal.size() <= kBegin.size() + kEnd.size() || literal.compare(0, kBegin.size(), kBegin) != 0 ||
      literal.compare(literal.size() - kEnd.size(), kEnd.size(), kEnd) != 0) {
    return std::nullopt;
  }
  const std::string text = literal.substr(kBegin.size(), literal.size() - kBegin.size() - kEnd.size());
  if (contains(text, "<|")) return std::nullopt;
  return text;
}

std::optional<KnownTemplate> chatml_of(const JinjaParts& parts) {
  const bool starts_answer =
      writes(parts, "<|im_start|>assistant\n") && code_has(parts, "add_generation_prompt");
  if (!starts_answer || !mentions(parts, "<|im_end|>")) return std::nullopt;
  // Anything that would change a message or depend on more than the messages.
  if (code_has_any(parts, {"trim", "replace", "upper", "lower", "capitalize", "title", "bos_token",
                           "eos_token", "strftime", "date", "image", "video", "audio"})) {
    return std::nullopt;
  }
  const bool thinks = code_has(parts, "enable_thinking");
  if (!thinks && code_has_any(parts, {"strip", "think", "reason"})) return std::nullopt;
  std::string default_system;
  for (const auto& literal : parts.literals) {
    const auto found = default_system_of(literal);
    if (!found) continue;
    if (!default_system.empty() && *found != default_system) return std::nullopt;
    default_system = *found;
  }
  for (const auto& literal : parts.literals) {
    const bool known = thinks ? is_qwen3_literal(literal) : is_chatml_literal(literal);
    if (!known && literal != default_system && default_system_of(literal) != default_system)
      return std::nullopt;
  }
  if (!thinks) return KnownTemplate{TemplateStyle::kChatMl, default_system};
  // Thoughts are written for answers behind the last question only.
  const bool qwen3 =
      writes(parts, "<think>\n\n</think>\n\n") && default_system.empty() && code_has(parts, "loop.index0 >");
  return qwen3 ? std::optional(KnownTemplate{TemplateStyle::kQwen3, ""}) : std::nullopt;
}

// Every "<|...|>" of the literals is one of `known`.
bool markers_known(const JinjaParts& parts, const std::set<std::string>& known) {
  for (const auto& literal : parts.literals) {
    for (size_t at = literal.find("<|"); at != std::string::npos; at = literal.find("<|", at + 2)) {
      const size_t end = literal.find("|>", at);
      if (end == std::string::npos || known.count(literal.substr(at, end + 2 - at)) == 0) return false;
    }
  }
  return true;
}

std::optional<KnownTemplate> llama3_of(const JinjaParts& parts) {
  const bool starts_answer = writes(parts, "<|start_header_id|>assistant<|end_header_id|>\n\n");
  const bool trims = code_has(parts, "trim");
  const bool writes_bos = code_has(parts, "bos_token") || mentions(parts, "<|begin_of_text|>");
  if (!starts_answer || !trims || !writes_bos || !mentions(parts, "<|eot_id|>")) return std::nullopt;
  if (!markers_known(parts, {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                             "<|eom_id|>", "<|python_tag|>"})) {
    return std::nullopt;
  }
  if (code_has_any(parts, {"think", "reason", "image", "replace", "upper", "lower"}) ||
      mentions(parts, "think")) {
    return std::nullopt;
  }
  const bool dated =
      writes(parts, "Cutting Knowledge Date: December 2023\n") && writes(parts, "Today Date: ") &&
      writes(parts, "<|start_header_id|>system<|end_header_id|>\n\n") && code_has(parts, "date_string");
  if (dated) return KnownTemplate{TemplateStyle::kLlama3, ""};
  if (mentions(parts, "Date") || code_has_any(parts, {"date", "strftime", "tools"})) return std::nullopt;
  static const std::set<std::string> kKnown = {"<|start_header_id|>",
                                               "<|end_header_id|>\n\n",
                                               "<|eot_id|>",
                                               "role",
                                               "content",
                                               "<|start_header_id|>assistant<|end_header_id|>\n\n",
                                               "<|begin_of_text|>",
                                               ""};
  for (const auto& literal : parts.literals) {
    if (kKnown.count(literal) == 0 && !is_blank(literal)) return std::nullopt;
  }
  return KnownTemplate{TemplateStyle::kLlama30, ""};
}

}  // namespace

JinjaParts take_apart(const std::string& jinja) {
  JinjaParts out;
  std::string text;  // outside of blocks
  const auto end_text = [&] {
    if (!text.empty()) out.literals.push_back(text);
    text.clear();
  };
  for (size_t at = 0; at < jinja.size();) {
    const std::string_view two = std::string_view(jinja).substr(at, 2);
    if (two == "{#") {
      const size_t end = jinja.find("#}", at + 2);
      at = end == std::string::npos ? jinja.size() : end + 2;
    } else if (two == "{{" || two == "{%") {
      end_text();
      const char close = two[1] == '{' ? '}' : '%';
      at += 2;
      while (at < jinja.size() && !(jinja[at] == close && at + 1 < jinja.size() && jinja[at + 1] == '}')) {
        if (jinja[at] == '\'' || jinja[at] == '"') {
          out.literals.push_back(read_literal(jinja, at));
        } else {
          out.code += jinja[at++];
        }
      }
      at = std::min(at + 2, jinja.size());
      out.code += '\n';
    } else {
      text += jinja[at++];
    }
  }
  end_text();
  return out;
}

std::optional<KnownTemplate> recognise_template(const std::string& jinja) {
  const JinjaParts parts = take_apart(jinja);
  if (!code_has(parts, "messages")) return std::nullopt;
  const bool chatml = mentions(parts, "<|im_start|>"), llama = mentions(parts, "<|start_header_id|>");
  if (chatml == llama) return std::nullopt;
  return chatml ? chatml_of(parts) : llama3_of(parts);
}

}  // namespace pan::tokenizer
