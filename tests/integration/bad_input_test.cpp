// More of what a person may hand to the program by mistake: one error line, its exit code, nothing left
// behind.
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "core/json.h"
#include "integration/cli_support.h"
#include "train/tiny_run.h"

namespace pan::testing {
namespace {

namespace fs = std::filesystem;

class BadInput : public Cli {
 protected:
  // Rewrites the header of the tiny model's weights.
  void change_header(const std::function<void(core::Json&)>& change) const {
    const std::string file = model() + "/model.safetensors", bytes = read_text(file);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    core::Json header = core::Json::parse(bytes.substr(sizeof length, length));
    change(header);
    const std::string text = header.dump();
    length = text.size();
    std::string out(sizeof length, '\0');
    std::memcpy(out.data(), &length, sizeof length);
    uint64_t old = 0;
    std::memcpy(&old, bytes.data(), sizeof old);
    write_text(file, out + text + bytes.substr(sizeof old + old));
  }
  void expect_refused(const Words& parts) const {
    expect_error(train({}), 3, parts);
    EXPECT_FALSE(fs::exists(path("run"))) << "a run folder was left behind";
  }
};

constexpr char kNorm[] = "model.norm.weight", kOther[] = "model.layers.0.input_layernorm.weight";

TEST_F(BadInput, OverlappingTensors) {
  change_header([](core::Json& header) { header[kNorm]["data_offsets"] = header[kOther]["data_offsets"]; });
  expect_refused({"model.safetensors", "overlap", "expected", "got", "fetch or write it again"});
}

TEST_F(BadInput, MisTypedTensors) {
  change_header([](core::Json& header) { header[kNorm]["dtype"] = "F99"; });
  expect_refused(
      {"model.safetensors", kNorm, "type that is not supported", "F99", "fetch or write it again"});
}

TEST_F(BadInput, ATypeOfAnotherSize) {
  change_header([](core::Json& header) { header[kNorm]["dtype"] = "F64"; });
  expect_refused({"model.safetensors", kNorm, "expected", "got", "fetch or write it again"});
}

TEST_F(BadInput, AnIntegerTypeOfTheSameSize) {
  change_header([](core::Json& header) { header[kNorm]["dtype"] = "I32"; });
  expect_refused({kNorm, "expected", "got"});
}

TEST_F(BadInput, CorruptTokenizerJson) {
  fs::remove(model() + "/tokenizer.model");
  for (const char* text : {"{\"model\": {\"type\": \"BPE\", \"vocab\": {", "", "[1, 2]", "{\"model\": 3}"}) {
    write_text(model() + "/tokenizer.json", text);
    expect_refused({"tokenizer.json"});
  }
}

TEST_F(BadInput, AnEmptyDataSet) {
  for (const char* text : {"", "\n\n"}) {
    write_text(path("empty.jsonl"), text);
    core::Json json = config::resolved(tiny_config(model(), {"eval.every=0"}));
    json["task"] = {
        {"name", "jsonl"}, {"train_path", path("empty.jsonl")}, {"eval_path", path("empty.jsonl")}};
    write_text(path("jsonl.json"), json.dump());
    expect_error(pan({"train", "--config", path("jsonl.json"), "--run-dir", path("run")}), 3,
                 {"empty.jsonl", "no rows", "expected", "got"});
    EXPECT_FALSE(fs::exists(path("run")));
  }
}

TEST_F(BadInput, WeightsThatAreAFolder) {
  fs::remove(model() + "/model.safetensors");
  fs::create_directory(model() + "/model.safetensors");
  expect_refused({"not a regular file", "expected a safetensors file", "got a folder"});
}

TEST_F(BadInput, ADeviceThatIsNotThere) {
  if (at::hasCUDA()) GTEST_SKIP() << "there is a GPU";
  const Words parts = {"no GPU", "expected cpu or auto", "got cuda", "PAN_CUDA=ON"};
  expect_error(train({"--set", "model.device=cuda"}), 5, parts);
  EXPECT_FALSE(fs::exists(path("run")));
  expect_error(pan({"generate", "--model", model(), "--prompt", "a", "--device", "cuda"}), 5, parts);
}

// A bit that the disk turned: sizes are right, the numbers finite, and only the checksum knows.
TEST_F(BadInput, AFlippedBitInACheckpoint) {
  ASSERT_EQ(train({}).code, 0);
  const std::string file = path("run/checkpoints/latest/policy/model.safetensors");
  std::string bytes = read_text(file);
  bytes[bytes.size() - 4] ^= 1;
  write_text(file, bytes);
  const Words parts = {"policy/model.safetensors", "damaged", "expected crc32c", "got crc32c"};
  write_text(path("in.jsonl"), "{\"prompt\":\"2 houses\\n\",\"response\":\"1\\n\"}\n");
  expect_error(pan({"eval", "--model", path("run"), "--output", path("ev"), "--limit", "1"}), 3, parts);
  EXPECT_FALSE(fs::exists(path("ev/results.json")));
  expect_error(pan({"generate", "--model", path("run/checkpoints/latest"), "--prompt", "a"}), 3, parts);
  expect_error(pan({"score", "--model", path("run/checkpoints/latest/policy"), "--input", path("in.jsonl"),
                    "--output", path("out.jsonl")}),
               3, parts);
}

TEST_F(BadInput, EvalSaysWhatItDoesAndWhichCheckpointItTook) {
  ASSERT_EQ(train({}).code, 0);
  // Everything from the run's own configuration.
  const Result r =
      pan({"eval", "--model", path("run/checkpoints/latest"), "--output", path("ev"), "--limit", "2"});
  ASSERT_EQ(r.code, 0) << r.err;
  const core::Json results = core::Json::parse(read_text(path("ev/results.json")));
  EXPECT_NE(results.at("model").get<std::string>().find("checkpoints/step_000001/policy"), std::string::npos);
  EXPECT_EQ(results.at("task"), "logic_grid");
  EXPECT_EQ(results.at("decoding").at("max_new_tokens"), 8);  // eval.max_new_tokens of the run
  EXPECT_EQ(results.at("config").at("task").at("sizes"), core::Json::array({"2x2"}));
  EXPECT_EQ(results.at("config").at("prompt").at("template"), "plain");
  // A model folder has none: what is taken is printed.
  const Result plain = pan({"eval", "--model", model(), "--task", "logic_grid", "--output", path("ev2"),
                            "--limit", "1", "--set", "eval.max_new_tokens=3", "--set", "task.sizes=[\"2x2\"]",
                            "--set", "task.prompt_style=compact", "--set", "task.answer_style=lines"});
  ASSERT_EQ(plain.code, 0) << plain.err;
  for (const char* part : {"\"name\":\"logic_grid\"", "the first 1 problems", "samples 1", "temperature 0",
                           "max_new_tokens 3", "seed ", "dtype float32", "prompt template"})
    EXPECT_NE(plain.err.find(part), std::string::npos) << part << " in " << plain.err;
}

}  // namespace
}  // namespace pan::testing
