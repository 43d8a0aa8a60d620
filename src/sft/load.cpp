#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "sft/sft_trainer.h"

namespace pan::sft {

SftConfig load_sft(const std::string& path, const std::vector<std::string>& overrides) {
  PAN_CHECK(core::exists(path) && !core::is_folder(path), kConfig, "there is no such configuration file")
      .where(path);
  const std::string text = core::read_file(path);
  core::Json json = core::parse_json(text, path, core::JsonDialect::kWithComments);
  std::set<std::string> overridden;
  for (const std::string& assignment : overrides) overridden.insert(core::apply_override(json, assignment));
  SftConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, json, path,
                    [&](const std::string& pointer) {
                      return overridden.count(pointer) ? core::kFromOverride
                                                       : core::line_of_pointer(text, pointer);
                    });
  const InitConfig& init = config.init;
  PAN_CHECK(init.hidden_size == 0 || (init.num_layers > 0 && init.num_heads > 0 && init.num_kv_heads > 0 &&
                                      init.intermediate_size > 0),
            kConfig, "a new model needs all its sizes")
      .pointer("/init")
      .expected("hidden_size, intermediate_size, num_layers, num_heads and num_kv_heads above 0");
  PAN_CHECK(init.hidden_size == 0 ||
                (init.hidden_size % (2 * init.num_heads) == 0 && init.num_heads % init.num_kv_heads == 0),
            kConfig, "the heads do not divide")
      .pointer("/init/num_heads")
      .expected("hidden_size / num_heads an even number, num_heads a multiple of num_kv_heads");
  return config;
}

}  // namespace pan::sft
