// What tests/tokenizer/check_model_folder.py runs: ids, decoded text and chat prompts of a whole file of
// texts.
//
//   tokenizer_tool tokenize FOLDER IN.jsonl OUT.jsonl
//   tokenizer_tool chat FOLDER IN.jsonl OUT.jsonl PROMPT_CONFIG_JSON      rows {"text"} or
//   {"messages", "start"} -> {"text", "token_ids"}
#include <chrono>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "core/file.h"
#include "core/json.h"
#include "core/schema.h"
#include "pan/tokenizer.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenize_file.h"

namespace {

using namespace pan;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void tokenize(const std::string& folder, const std::string& in, const std::string& out) {
  auto begin = std::chrono::steady_clock::now();
  tokenizer::load(folder);
  const double load_s = seconds_since(begin);
  begin = std::chrono::steady_clock::now();
  const auto counts = tokenizer::tokenize_file(folder, in, out);
  std::printf(
      "load %.2f s; %lld rows, %lld bytes, %lld tokens in %.2f s (load, read, encode, decode, write)\n",
      load_s, static_cast<long long>(counts.num_rows), static_cast<long long>(counts.num_bytes),
      static_cast<long long>(counts.num_tokens), seconds_since(begin));
}

tokenizer::Role role_of(const std::string& name) {
  return name == "system" ? tokenizer::Role::kSystem
         : name == "user" ? tokenizer::Role::kUser
                          : tokenizer::Role::kAssistant;
}

void chat(const std::string& folder, const std::string& in, const std::string& out,
          const std::string& config_json) {
  tokenizer::PromptConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, core::parse_json(config_json, "argument"),
                    "argument");
  const auto tok = tokenizer::load(folder);
  const auto chat = tokenizer::load_chat_template(folder, config, *tok);
  std::istringstream lines(core::read_file(in));
  std::string rows;
  for (std::string line; std::getline(lines, line);) {
    const core::Json row = core::parse_json(line, in);
    std::vector<tokenizer::Message> messages;
    if (row.contains("text")) messages = {{tokenizer::Role::kUser, row["text"]}};
    for (const core::Json& m : row.value("messages", core::Json::array()))
      messages.push_back({role_of(m["role"]), m["content"]});
    const bool start = row.value("start", true);
    rows += core::dump_json({{"text", chat->render_text(messages, start)},
                             {"token_ids", chat->encode(*tok, messages, start)}}) +
            "\n";
  }
  core::write_file_atomic(core::disk(), out, rows);
  std::printf("template %s; stop tokens", chat->name().c_str());
  for (const auto id : tokenizer::stop_token_ids(folder, *tok, *chat))
    std::printf(" %lld", static_cast<long long>(id));
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  try {
    if (command == "tokenize" && argc == 5) {
      tokenize(argv[2], argv[3], argv[4]);
    } else if (command == "chat" && argc == 6) {
      chat(argv[2], argv[3], argv[4], argv[5]);
    } else {
      std::fprintf(stderr, "see the head of tokenizer_tool.cpp\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
}
