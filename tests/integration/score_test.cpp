// score and generate on raw texts and chats, with groups from where a person has them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/json.h"
#include "integration/cli_support.h"
#include "model/safetensors.h"
#include "support/support.h"

namespace pan::testing {
namespace {

using core::Json;

class Score : public Cli {
 protected:
  Score() {
    write_text(path("raw.jsonl"),
               R"({"prompt":"User: 2 houses\nBot: ","response":"Eve is in house 1.\nso Kim 2.\n"})"
               "\n");
    write_text(path("turn.jsonl"), R"({"prompt":"2 houses","response":"Eve is in house 1.\nso Kim 2.\n"})"
                                   "\n");
  }
  Words words(const std::string& input, const std::string& output, const Words& more = {}) const {
    Words all = {"score",    "--model",    model(),     "--input", path(input),
                 "--output", path(output), "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(Score, RawTextNeedsNoKnownChatTemplate) {
  write_text(model() + "/chat_template.jinja",
             "{% for m in messages %}[{{ m.content | upper }}]{% endfor %}");
  EXPECT_EQ(pan(words("raw.jsonl", "raw")).code, 0);
  EXPECT_EQ(pan({"generate", "--model", model(), "--prompt", "2 houses", "--max-new-tokens", "2"}).code, 0);
  const Words parts = {"not known", "--template", "chat_template.jinja"};
  expect_error(pan(words("turn.jsonl", "x", {"--chat"})), 3, parts);
  expect_error(pan({"generate", "--model", model(), "--prompt", "2 houses", "--chat"}), 3, parts);
  // What the remedy says is possible, and gives what the same text gives as raw text.
  const Words chat = {"--chat", "--template", "custom", "--custom", "User: {prompt}\nBot: "};
  const Result r = pan(words("turn.jsonl", "chat", chat));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(read_text(path("chat")), read_text(path("raw")));
  const Words with_system = {
      "--chat", "--template", "custom", "--custom", "{system}: {prompt}\nBot: ", "--system", "User"};
  ASSERT_EQ(pan(words("turn.jsonl", "system", with_system)).code, 0);
  EXPECT_EQ(read_text(path("system")), read_text(path("raw")));
  expect_error(pan(words("raw.jsonl", "x", {"--template", "plain"})), 2, {"--template", "--chat"});
}

TEST_F(Score, TakesHeadGroupsOfARunACheckpointAndAFile) {
  ASSERT_EQ(train({}).code, 0);
  const Json state = core::read_json_file(path("run/checkpoints/latest/state.json"));
  write_text(path("groups.json"), state["loop"]["state"]["groups"].dump());
  const Words sources = {path("run"), path("run/checkpoints/step_000001"), path("groups.json")};
  for (size_t i = 0; i < sources.size(); ++i) {
    const Result r = pan(words("raw.jsonl", "out" + std::to_string(i), {"--head-groups", sources[i]}));
    ASSERT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(read_text(path("out" + std::to_string(i))), read_text(path("out0")));
  }
  EXPECT_FALSE(Json::parse(read_text(path("out0")))["steps"].empty());
  ASSERT_EQ(
      pan({"train", "--config", write_config({"train.iterations=1", "eval.every=0", "rhythm.enabled=false"}),
           "--run-dir", path("off")})
          .code,
      0);
  expect_error(pan(words("raw.jsonl", "x", {"--head-groups", path("off")})), 3,
               {"holds no head groups", "leave --head-groups out"});
}

TEST_F(Score, WritesTheLayersThatAreAskedFor) {
  const std::string tensors = path("t.safetensors");
  ASSERT_EQ(pan(words("raw.jsonl", "a", {"--tensors", tensors})).code, 0);
  const std::string groups = path("a.head_groups.json");
  const auto layers = [&](const Words& more) -> int64_t {
    Words all = {"--tensors", tensors};
    all.insert(all.end(), more.begin(), more.end());
    const Result r = pan(words("raw.jsonl", "b", all));
    EXPECT_EQ(r.code, 0) << r.err;
    return model::SafetensorsFile(tensors).find("row0.waad")->shape[0];
  };
  EXPECT_EQ(layers({"--head-groups", groups, "--layers", "1"}), 1);
  EXPECT_EQ(read_text(path("b")), read_text(path("a")));
  EXPECT_EQ(layers({"--head-groups", groups, "--layers", "all"}), 3);
  EXPECT_EQ(read_text(path("b")), read_text(path("a")));
  EXPECT_EQ(layers({"--head-groups", groups}), 2);
  EXPECT_EQ(layers({"--layers", "0,1,2"}), 3);
  EXPECT_NE(
      pan(words("raw.jsonl", "b", {"--head-groups", groups, "--layers", "1"})).err.find("has no effect"),
      std::string::npos);
  expect_error(pan(words("raw.jsonl", "b", {"--layers", "7"})), 2, {"layers", "from 0 to 2"});
}

}  // namespace
}  // namespace pan::testing
