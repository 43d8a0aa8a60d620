// Recognises a chat template from its Jinja text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tokenizer/chat_template.h"

namespace pan::tokenizer {

struct KnownTemplate {
  TemplateStyle style;
  std::string default_system;
};

// Nothing where the template is not one of ours, or not surely so.
std::optional<KnownTemplate> recognise_template(const std::string& jinja);

// A Jinja text taken apart: what it may write (texts outside of blocks and string literals within, unescaped)
// and its code.
struct JinjaParts {
  std::vector<std::string> literals;
  std::string code;  // all blocks, without their string literals and comments
};
JinjaParts take_apart(const std::string& jinja);

}  // namespace pan::tokenizer
