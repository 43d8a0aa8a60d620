#include <nlohmann/json.hpp>

#include "config/load.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "sft/sft_trainer.h"

namespace pan::sft {

namespace {

void check(const InitConfig& init, const model::LoraConfig& lora) {
  PAN_CHECK(init.hidden_size == 0 || (init.num_layers > 0 && init.num_heads > 0 && init.num_kv_heads > 0 &&
                                      init.intermediate_size > 0),
            kConfig, "a new model needs all its sizes")
      .pointer("/init")
      .expected("hidden_size, intermediate_size, num_layers, num_heads and num_kv_heads above 0")
      .got("one that is 0")
      .remedy("Set init.hidden_size and the others, or leave init out to start from model.path");
  PAN_CHECK(init.hidden_size == 0 ||
                (init.hidden_size % (2 * init.num_heads) == 0 && init.num_heads % init.num_kv_heads == 0),
            kConfig, "the heads do not divide")
      .pointer("/init/num_heads")
      .expected(
          "init.hidden_size / init.num_heads an even number, init.num_heads a multiple of init.num_kv_heads")
      .got(std::to_string(init.hidden_size) + " / " + std::to_string(init.num_heads) + " and " +
           std::to_string(init.num_heads) + " / " + std::to_string(init.num_kv_heads));
  PAN_CHECK(init.hidden_size == 0 || !lora.enabled(), kConfig, "adapters need weights to adapt")
      .pointer("/model/lora/rank")
      .expected("0 with init.hidden_size above 0: a new model is trained whole")
      .got(std::to_string(lora.rank))
      .remedy("Set model.lora.rank to 0, or leave init out to start from model.path");
}

}  // namespace

SftConfig load_sft(const std::string& path, const std::vector<std::string>& overrides) {
  const std::string text = config::config_text(path);
  core::Json json = core::parse_json(text, path, core::JsonDialect::kWithComments);
  config::Places places(path, text);
  places.apply(json, overrides);
  config::check_task_keys(json, places, path);
  SftConfig config;
  core::read_fields([&](core::Fields& f) { describe(f, config); }, json, path,
                    [&](const std::string& pointer) { return places.line_of(pointer); });
  try {
    check(config.init);
    if (config.task.name == "mix") tasks::parts_of(config.task.mix);
  } catch (core::Error& error) {
    places.add_to(error, config::pointers_of([&](core::Fields& f) { describe(f, config); }));
    throw;
  }
  return config;
}

}  // namespace pan::sft
