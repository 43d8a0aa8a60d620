#include "tokenizer/model_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"

namespace pan::tokenizer {
namespace {

using core::Json;

constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kTokensMap = "special_tokens_map.json";

// The object in folder/name; an empty one where there is no such file.
Json read_object(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  if (!core::exists(path)) return Json::object();
  Json json = core::read_json_file(path);
  PAN_CHECK(json.is_object(), kData, "the file must hold an object").where(path);
  return json;
}

// A token is written as its text or as {"content": text, ...}.
std::string token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    return value["content"].get<std::string>();
  return "";
}

std::vector<int64_t> id_list(const Json& json, const char* key, const std::string& source) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return {};
  std::vector<int64_t> out;
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& value : list) {
    PAN_CHECK(value.is_number_integer() && value.get<int64_t>() >= 0, kData,
              std::string(key) + " must be a token id or a list of them")
        .where(source)
        .pointer(std::string("/") + key)
        .got(core::dump_json(value));
    out.push_back(value.get<int64_t>());
  }
  return out;
}

std::vector<int64_t> ids_of(const std::string& folder, const char* key) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    auto ids = id_list(read_object(folder, name), key, folder + "/" + name);
    if (!ids.empty()) return ids;
  }
  return {};
}

}  // namespace

std::string folder_of(const std::string& path) {
  if (core::is_folder(path)) return path;
  const auto parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

NamedTokens read_named_tokens(const std::string& folder) {
  const Json config = read_object(folder, kTokenizerConfig);
  const Json map = read_object(folder, kTokensMap);
  const auto text_of = [&](const char* key) {
    for (const Json* json : {&config, &map}) {
      if (const auto found = json->find(key); found != json->end() && !token_text(*found).empty())
        return token_text(*found);
    }
    return std::string();
  };
  const auto first = [](const std::vector<int64_t>& ids) { return ids.empty() ? -1 : ids.front(); };
  return {text_of("bos_token"), text_of("eos_token"), first(ids_of(folder, "bos_token_id")),
          first(ids_of(folder, "eos_token_id"))};
}

std::vector<std::string> read_special_texts(const std::string& folder) {
  std::set<std::string> out;
  for (const char* name : {kTokenizerConfig, kTokensMap}) {
    const Json json = read_object(folder, name);
    for (const char* key :
         {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
      if (const auto found = json.find(key); found != json.end()) out.insert(token_text(*found));
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const auto found = json.find(key);
      if (found == json.end() || !(found->is_array() || found->is_object())) continue;
      for (const Json& value : *found) out.insert(token_text(value));
    }
    const auto added = json.find("added_tokens_decoder");
    if (added == json.end() || !added->is_object()) continue;
    for (const Json& value : *added) {
      if (value.is_object() && value.value("special", false)) out.insert(token_text(value));
    }
  }
  out.erase("");
  return {out.begin(), out.end()};
}

AddedAtEnds read_added_at_ends(const std::string& folder) {
  const Json config = read_object(folder, kTokenizerConfig);
  const std::string source = folder + "/" + kTokenizerConfig;
  return {core::get_or<bool>(config, "/add_bos_token", source, false),
          core::get_or<bool>(config, "/add_eos_token", source, false)};
}

std::vector<int64_t> read_eos_ids(const std::string& folder) {
  std::set<int64_t> out;
  for (const char* name : {"generation_config.json", "config.json"}) {
    for (const int64_t id : id_list(read_object(folder, name), "eos_token_id", folder + "/" + name))
      out.insert(id);
  }
  return {out.begin(), out.end()};
}

std::optional<TemplateSource> read_chat_template(const std::string& folder) {
  const std::string jinja = folder + "/chat_template.jinja";
  if (core::exists(jinja)) return TemplateSource{core::read_file(jinja), jinja};
  const std::string path = folder + "/" + kTokenizerConfig;
  const Json config = read_object(folder, kTokenizerConfig);
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return TemplateSource{found->get<std::string>(), path};
  PAN_CHECK(found->is_array(), kData, "chat_template must be a text or a list of named ones")
      .where(path)
      .pointer("/chat_template");
  for (const Json& entry : *found) {
    if (core::get_or<std::string>(entry, "/name", path, "") != "default") continue;
    return TemplateSource{core::get_required<std::string>(entry, "/template", path), path};
  }
  throw core::Error(core::ErrorKind::kData, "none of the chat templates is named default")
      .where(path)
      .pointer("/chat_template");
}

}  // namespace pan::tokenizer
