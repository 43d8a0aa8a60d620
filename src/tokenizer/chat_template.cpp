#include "tokenizer/chat_template.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/log.h"
#include "tokenizer/model_files.h"
#include "tokenizer/template_detect.h"
#include "tokenizer/unicode.h"

namespace pan::tokenizer {
namespace {

constexpr const char* kQwen2System = "You are a helpful assistant.";
constexpr const char* kQwen25System = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
constexpr const char* kSmolLm2System = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

const char* role_name(Role role) {
  return role == Role::kSystem ? "system" : role == Role::kUser ? "user" : "assistant";
}

// Collects what the template writes and what others wrote.
class Writer {
 public:
  Writer& markup(const std::string& text) { return add(text, true); }
  Writer& content(const std::string& text) { return add(text, false); }
  std::vector<TextPart> take() { return std::move(parts_); }

 private:
  Writer& add(const std::string& text, bool allow_special) {
    if (text.empty()) return *this;
    if (!parts_.empty() && parts_.back().allow_special == allow_special) {
      parts_.back().text += text;
    } else {
      parts_.push_back({text, allow_special});
    }
    return *this;
  }
  std::vector<TextPart> parts_;
};

std::string strip_newlines(const std::string& text, bool left, bool right) {
  size_t begin = 0, end = text.size();
  while (left && begin < end && text[begin] == '\n') ++begin;
  while (right && end > begin && text[end - 1] == '\n') --end;
  return text.substr(begin, end - begin);
}

// Qwen3 leaves the thinking of earlier answers out, and writes an empty block where the last answer has none.
struct Thought {
  std::string reasoning, answer;
};
Thought split_thought(const std::string& text) {
  static const std::string kOpen = "<think>", kClose = "</think>";
  const size_t first = text.find(kClose);
  if (first == std::string::npos) return {"", text};
  std::string reasoning = strip_newlines(text.substr(0, first), false, true);
  if (const size_t open = reasoning.rfind(kOpen); open != std::string::npos)
    reasoning.erase(0, open + kOpen.size());
  return {strip_newlines(reasoning, true, false),
          strip_newlines(text.substr(text.rfind(kClose) + kClose.size()), true, false)};
}

bool is_tool_response(const std::string& text) {
  static const std::string kOpen = "<tool_response>", kClose = "</tool_response>";
  return text.compare(0, kOpen.size(), kOpen) == 0 && text.size() >= kClose.size() &&
         text.compare(text.size() - kClose.size(), kClose.size(), kClose) == 0;
}

void chatml_turn(Writer& out, Role role, const std::string& text) {
  out.markup(std::string("<|im_start|>") + role_name(role) + "\n").content(text).markup("<|im_end|>\n");
}

void write_chatml(Writer& out, const std::vector<Message>& messages, const std::string& default_system) {
  const bool has_system = !messages.empty() && messages.front().role == Role::kSystem;
  if (!has_system && !default_system.empty()) chatml_turn(out, Role::kSystem, default_system);
  for (const Message& m : messages) chatml_turn(out, m.role, m.text);
}

void write_qwen3(Writer& out, const std::vector<Message>& messages) {
  size_t last_query = messages.empty() ? 0 : messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role == Role::kUser && !is_tool_response(messages[i].text)) {
      last_query = i;
      break;
    }
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.role != Role::kAssistant) {
      chatml_turn(out, m.role, m.text);
      continue;
    }
    const Thought thought = split_thought(m.text);
    out.markup("<|im_start|>assistant\n");
    if (i > last_query && (i + 1 == messages.size() || !thought.reasoning.empty())) {
      out.markup("<think>\n").content(strip_newlines(thought.reasoning, true, true)).markup("\n</think>\n\n");
      out.content(strip_newlines(thought.answer, true, false));
    } else {
      out.content(thought.answer);
    }
    out.markup("<|im_end|>\n");
  }
}

void llama_header(Writer& out, const char* role) {
  out.markup(std::string("<|start_header_id|>") + role + "<|end_header_id|>\n\n");
}

// `date` empty: Llama 3.0, whose system message is a turn like any other.
void write_llama(Writer& out, const std::vector<Message>& messages, const std::string& date) {
  out.markup("<|begin_of_text|>");
  size_t first = 0;
  if (!date.empty()) {
    llama_header(out, "system");
    out.markup("Cutting Knowledge Date: December 2023\nToday Date: ").content(date).markup("\n\n");
    if (!messages.empty() && messages.front().role == Role::kSystem) {
      out.content(std::string(strip_python(messages.front().text)));
      first = 1;
    }
    out.markup("<|eot_id|>");
  }
  for (size_t i = first; i < messages.size(); ++i) {
    llama_header(out, role_name(messages[i].role));
    out.content(std::string(strip_python(messages[i].text))).markup("<|eot_id|>");
  }
}

// The one user turn that plain and custom take; `system` is set to the text of a system message.
const std::string& only_turn(const std::vector<Message>& messages, std::string& system,
                             const std::string& name) {
  size_t first = 0;
  if (!messages.empty() && messages.front().role == Role::kSystem) {
    system = messages.front().text;
    first = 1;
  }
  PAN_CHECK(messages.size() == first + 1 && messages.back().role == Role::kUser, kUsage,
            "the prompt template '" + name + "' writes one user turn and no conversation")
      .remedy("Choose a chat template with prompt.template");
  return messages.back().text;
}

void write_custom(Writer& out, const std::string& text, const std::string& prompt,
                  const std::string& system) {
  static const std::string kPrompt = "{prompt}", kSystem = "{system}";
  for (size_t at = 0; at < text.size();) {
    const size_t p = text.find(kPrompt, at), s = text.find(kSystem, at);
    const size_t next = std::min(p, s);
    out.markup(text.substr(at, next == std::string::npos ? next : next - at));
    if (next == std::string::npos) break;
    out.content(next == p ? prompt : system);
    at = next + (next == p ? kPrompt : kSystem).size();
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

KnownTemplate template_by_name(const std::string& name, const std::string& folder) {
  if (name == "plain") return {TemplateStyle::kPlain, ""};
  if (name == "custom") return {TemplateStyle::kCustom, ""};
  if (name == "qwen2") return {TemplateStyle::kChatMl, kQwen2System};
  if (name == "qwen2.5") return {TemplateStyle::kChatMl, kQwen25System};
  if (name == "smollm2") return {TemplateStyle::kChatMl, kSmolLm2System};
  if (name == "qwen3") return {TemplateStyle::kQwen3, ""};
  if (name == "llama3") return {TemplateStyle::kLlama3, ""};
  if (name == "llama3.0") return {TemplateStyle::kLlama30, ""};
  const auto source = read_chat_template(folder);
  const auto known = source ? recognise_template(source->text) : std::nullopt;
  if (name == "chatml") {  // with the default system text of the folder's own template, where that is ChatML
    const bool same = known && known->style == TemplateStyle::kChatMl;
    return {TemplateStyle::kChatMl, same ? known->default_system : ""};
  }
  PAN_CHECK(name == "auto", kConfig, "unknown prompt template")
      .pointer("/prompt/template")
      .expected(joined(template_names()))
      .got(name);
  if (!source) return {TemplateStyle::kPlain, ""};
  PAN_CHECK(known.has_value(), kData, "the model folder has a chat template that is not known")
      .where(source->where)
      .remedy(
          "Set prompt.template (generate, score: --template) to the one that the model was trained with (" +
          joined(template_names()) + "); with custom, prompt.custom is the text");
  return *known;
}

void warn_of_idle_settings(const PromptConfig& config, TemplateStyle style) {
  const PromptConfig defaults;
  const auto warn = [](const std::string& key) {
    core::log_warn("prompt." + key, "prompt." + key + " has no effect with this prompt template");
  };
  const bool one_turn = style == TemplateStyle::kPlain || style == TemplateStyle::kCustom;
  if (config.enable_thinking != defaults.enable_thinking && style != TemplateStyle::kQwen3)
    warn("enable_thinking");
  if (config.date != defaults.date && style != TemplateStyle::kLlama3) warn("date");
  if (!config.custom.empty() && style != TemplateStyle::kCustom) warn("custom");
  if (!config.end_of_turn.empty() && !one_turn) warn("end_of_turn");
}

}  // namespace

std::string ChatTemplate::name() const {
  switch (style_) {
    case TemplateStyle::kPlain:
      return "plain";
    case TemplateStyle::kChatMl:
      return "chatml";
    case TemplateStyle::kQwen3:
      return "qwen3";
    case TemplateStyle::kLlama30:
      return "llama3.0";
    case TemplateStyle::kLlama3:
      return "llama3";
    case TemplateStyle::kCustom:
      return "custom";
  }
  return "";
}

std::vector<TextPart> ChatTemplate::render(const std::vector<Message>& given, bool generation_prompt) const {
  std::vector<Message> messages = given;
  const bool has_system = !messages.empty() && messages.front().role == Role::kSystem;
  if (!has_system && !config_.system.empty())
    messages.insert(messages.begin(), {Role::kSystem, config_.system});
  Writer out;
  std::string system;
  switch (style_) {
    case TemplateStyle::kPlain: {
      const std::string prompt = only_turn(messages, system, name());
      if (!system.empty()) out.content(system + "\n\n");
      out.content(prompt);
      return out.take();
    }
    case TemplateStyle::kCustom: {
      const std::string prompt = only_turn(messages, system, name());
      write_custom(out, config_.custom, prompt, system);
      return out.take();
    }
    case TemplateStyle::kChatMl:
      write_chatml(out, messages, config_.default_system ? default_system_ : "");
      break;
    case TemplateStyle::kQwen3:
      write_qwen3(out, messages);
      break;
    case TemplateStyle::kLlama30:
      write_llama(out, messages, "");
      break;
    case TemplateStyle::kLlama3:
      write_llama(out, messages, config_.date);
      break;
  }
  if (!generation_prompt) return out.take();
  if (style_ == TemplateStyle::kLlama3 || style_ == TemplateStyle::kLlama30) {
    llama_header(out, "assistant");
  } else {
    out.markup("<|im_start|>assistant\n");
    if (style_ == TemplateStyle::kQwen3 && !config_.enable_thinking) out.markup("<think>\n\n</think>\n\n");
  }
  return out.take();
}

std::string ChatTemplate::render_text(const std::vector<Message>& messages, bool generation_prompt) const {
  std::string out;
  for (const TextPart& part : render(messages, generation_prompt)) out += part.text;
  return out;
}

std::vector<int64_t> ChatTemplate::encode(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                                          bool generation_prompt) const {
  const auto parts = render(messages, generation_prompt);
  if (style_ != TemplateStyle::kPlain) return tokenizer.encode_parts(parts);
  const std::string text = parts.empty() ? "" : parts.front().text;
  return tokenizer.encode(text, {.allow_special = false, .add_special = config_.add_special});
}

std::vector<int64_t> ChatTemplate::encode_prompt(const Tokenizer& tokenizer, const std::string& user) const {
  return encode(tokenizer, {{Role::kUser, user}});
}

std::string ChatTemplate::end_of_turn() const {
  switch (style_) {
    case TemplateStyle::kChatMl:
    case TemplateStyle::kQwen3:
      return "<|im_end|>";
    case TemplateStyle::kLlama30:
    case TemplateStyle::kLlama3:
      return "<|eot_id|>";
    default:
      return config_.end_of_turn;
  }
}

int64_t ChatTemplate::end_of_turn_id(const Tokenizer& tokenizer) const {
  const std::string text = end_of_turn();
  return text.empty() ? tokenizer.eos_id() : tokenizer.id_of(text);
}

void check(const PromptConfig& c) {
  if (c.template_name == "custom") {
    const size_t first = c.custom.find("{prompt}");
    PAN_CHECK(first != std::string::npos && c.custom.find("{prompt}", first + 1) == std::string::npos,
              kConfig, "prompt.custom must contain {prompt} once")
        .pointer("/prompt/custom")
        .expected("a text such as \"Question: {prompt}\\nAnswer:\"")
        .got("\"" + c.custom + "\"")
        .remedy("Write {prompt} where the problem belongs");
    PAN_CHECK(c.system.empty() || c.custom.find("{system}") != std::string::npos, kConfig,
              "a system text is set, but prompt.custom has no place for it")
        .pointer("/prompt/custom")
        .expected("{system} in it")
        .got("\"" + c.custom + "\"")
        .remedy("Write {system} where it belongs, or leave prompt.system empty");
  }
  PAN_CHECK(c.template_name != "llama3" || !c.date.empty(), kConfig, "prompt.date must not be empty")
      .pointer("/prompt/date")
      .expected("a date such as 26 Jul 2024")
      .got("\"\"")
      .remedy("Leave prompt.date out for that date");
}

void ChatTemplate::check(const Tokenizer& tokenizer, const std::string& folder) const {
  pan::tokenizer::check(config_);
  PAN_CHECK(style_ != TemplateStyle::kLlama3 || !config_.date.empty(), kConfig,
            "prompt.date must not be empty")
      .pointer("/prompt/date");
  if (const std::string text = end_of_turn(); config_.end_of_turn == text && !text.empty()) {
    PAN_CHECK(tokenizer.id_of(text) >= 0, kConfig, "prompt.end_of_turn is not a token of the tokenizer")
        .pointer("/prompt/end_of_turn")
        .got("'" + text + "'");
  }
  static const std::vector<std::string> kChatMl = {"<|im_start|>", "<|im_end|>"};
  static const std::vector<std::string> kLlama = {"<|begin_of_text|>", "<|start_header_id|>",
                                                  "<|end_header_id|>", "<|eot_id|>"};
  if (style_ == TemplateStyle::kPlain || style_ == TemplateStyle::kCustom) return;
  const bool llama = style_ == TemplateStyle::kLlama3 || style_ == TemplateStyle::kLlama30;
  for (const auto& token : llama ? kLlama : kChatMl) {
    PAN_CHECK(tokenizer.id_of(token) >= 0 && tokenizer.is_special(tokenizer.id_of(token)), kData,
              "the chat template '" + name() + "' needs a special token that the tokenizer does not have")
        .where(folder)
        .expected(token)
        .remedy("Choose another prompt.template (plain needs no token)");
  }
}

std::shared_ptr<const ChatTemplate> load_chat_template(const std::string& path, const PromptConfig& config,
                                                       const Tokenizer& tokenizer) {
  const KnownTemplate known = template_by_name(config.template_name, folder_of(path));
  auto chat = std::make_shared<const ChatTemplate>(known.style, known.default_system, config);
  chat->check(tokenizer, path);
  warn_of_idle_settings(config, known.style);
  return chat;
}

std::vector<int64_t> stop_token_ids(const std::string& path, const Tokenizer& tokenizer,
                                    const ChatTemplate& chat) {
  std::set<int64_t> out;
  for (const int64_t id : read_eos_ids(folder_of(path))) out.insert(id);
  if (const int64_t id = chat.end_of_turn_id(tokenizer); id >= 0) out.insert(id);
  if (out.empty() && tokenizer.eos_id() >= 0) out.insert(tokenizer.eos_id());
  return {out.begin(), out.end()};
}

std::vector<int64_t> stop_token_ids(const std::string& path, const Tokenizer& tokenizer) {
  std::vector<int64_t> out = read_eos_ids(folder_of(path));
  if (out.empty() && tokenizer.eos_id() >= 0) out.push_back(tokenizer.eos_id());
  return out;
}

}  // namespace pan::tokenizer
