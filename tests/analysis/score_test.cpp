// What score says of texts, against transformers' eager attention (tests/fixtures/score).
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "analysis/score_file.h"
#include "core/error.h"
#include "core/json.h"
#include "kernels/attention_stats.h"
#include "model/safetensors.h"
#include "support/fault_disk.h"
#include "support/support.h"

namespace pan::analysis {
namespace {

using core::Json;
using pan::testing::fixture;
using pan::testing::read_text;

constexpr const char* kStatistics[] = {"entropy", "norm_entropy", "distance", "distance_ns",
                                       "waad",    "fai",          "sink_mass"};

// Bounds of docs/rhythm.md section 2; log-probabilities have that of the entropies.
double bound_of(const std::string& name, double ref) {
  const double size = std::abs(ref);
  if (name == "entropy" || name == "logprob") return 2e-5 * (1 + size);
  if (name == "norm_entropy" || name == "sink_mass" || name == "anchor_mass") return 1e-5;
  if (name == "fai") return 1e-4 * size + 1e-7;
  return 2e-5 * size + 1e-5;
}

void expect_tensor(const std::string& name, const at::Tensor& given, const at::Tensor& reference) {
  ASSERT_EQ(given.sizes(), reference.sizes()) << name;
  ASSERT_EQ(given.scalar_type(), at::kFloat);
  const at::Tensor got = given.contiguous(), expected = reference.contiguous();
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double ref = expected.const_data_ptr<float>()[i];
    ASSERT_NEAR(got.const_data_ptr<float>()[i], ref, bound_of(name, ref)) << name << " " << i;
  }
}

void expect_list(const std::string& name, const Json& got, const Json& expected) {
  ASSERT_EQ(got.size(), expected.size()) << name;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].is_null(), expected[i].is_null()) << name << " " << i;
    if (got[i].is_null()) continue;
    const double ref = expected[i].get<double>();
    ASSERT_NEAR(got[i].get<double>(), ref, bound_of(name, ref)) << name << " " << i;
  }
}

void expect_row(const Json& got, const Json& expected) {
  expect_list("logprob", got["logprobs"], expected["logprobs"]);
  expect_list("entropy", got["token_entropy"], expected["token_entropy"]);
  ASSERT_EQ(got["steps"].size(), expected["steps"].size());
  for (size_t k = 0; k < got["steps"].size(); ++k) {
    SCOPED_TRACE("step " + std::to_string(k));
    const Json &a = got["steps"][k], &b = expected["steps"][k];
    EXPECT_EQ(a.size(), 5u);
    for (const char* key : {"begin", "end", "anchors"}) EXPECT_EQ(a[key], b[key]) << key;
    expect_list("norm_entropy", a["preplan_entropy"], b["preplan_entropy"]);
    // (mass - u) / (1 - u) stretches an error by 1 / (1 - u): twice where half of the keys are anchors.
    ASSERT_EQ(a["anchor_concentration"].size(), 2u);
    for (size_t phase = 0; phase < 2; ++phase) {
      const Json &x = a["anchor_concentration"][phase], &y = b["anchor_concentration"][phase];
      ASSERT_EQ(x.is_null(), y.is_null());
      if (!x.is_null()) {
        EXPECT_NEAR(x.get<double>(), y.get<double>(), 2e-5);
      }
    }
  }
}

class ScoreTest : public ::testing::Test {
 protected:
  ScoreTest() {
    std::filesystem::copy(fixture("score/model"), model_);
    std::filesystem::copy_file(pan::testing::source_path("data/quickstart/tokenizer.model"),
                               model_ + "/tokenizer.model");
    decoder_ = model::load_decoder(model_, {});
    tokenizer_ = tokenizer::load(model_);
  }
  void TearDown() override { core::set_disk(nullptr); }

  ScoreRequest request(const std::string& output, const std::string& layers = "\"default\"") const {
    ScoreRequest r{
        .decoder = *decoder_,
        .tokenizer = *tokenizer_,
        .input = fixture("score/rows.jsonl"),
        .output = folder_ / output,
        .tensors = folder_ / (output + ".safetensors"),
        .rhythm = {},
        .groups = {},
        .encode_prompt =
            [this](const std::string& text) { return tokenizer_->encode(text, {.add_special = true}); },
        .progress = {}};
    r.rhythm.layers = layers;
    return r;
  }
  std::vector<Json> rows(const std::string& output) const {
    std::istringstream lines(read_text(folder_ / output));
    std::vector<Json> out;
    for (std::string line; std::getline(lines, line);) out.push_back(Json::parse(line));
    return out;
  }
  // The tensors hold these layers and say what the reference says of them.
  void expect_tensors(const std::string& output, const std::vector<int64_t>& layers) const {
    const model::SafetensorsFile got(folder_ / (output + ".safetensors"));
    ASSERT_EQ(got.tensors().size(), std::size(kStatistics) * expected_["rows"].size());
    for (size_t row = 0; row < expected_["rows"].size(); ++row) {
      for (const std::string name : kStatistics) {
        const std::string key = "row" + std::to_string(row) + "." + name;
        const at::Tensor chosen = reference_.load(key).index_select(0, at::tensor(layers, at::kLong));
        expect_tensor(name, got.load(key), chosen);
      }
    }
  }
  void expect_rows(const std::string& output) const {
    const std::vector<Json> got = rows(output);
    ASSERT_EQ(got.size(), expected_["rows"].size());
    for (size_t i = 0; i < got.size(); ++i) {
      SCOPED_TRACE("row " + std::to_string(i));
      expect_row(got[i], expected_["rows"][i]);
    }
  }
  rhythm::HeadGroups expected_groups() const {
    rhythm::HeadGroups g;
    g.layers = expected_["layers"].get<std::vector<int64_t>>();
    g.heads_per_layer = expected_["heads"];
    for (const Json& h : expected_["local"]) g.local.push_back({h[0], h[1]});
    for (const Json& h : expected_["global"]) g.global.push_back({h[0], h[1]});
    g.distance = expected_["distance"].get<std::vector<double>>();
    return g;
  }

  pan::testing::TempFolder folder_;
  std::string model_ = folder_ / "model";
  std::unique_ptr<model::Decoder> decoder_;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  Json expected_ = core::read_json_file(fixture("score/expected.json"));
  model::SafetensorsFile reference_{fixture("score/expected.safetensors")};
};

TEST_F(ScoreTest, RowsGroupsAndTensorsAreThoseOfEagerAttention) {
  const ScoreCounts counts = score_file(request("a"));
  EXPECT_EQ(counts.num_rows, 3);
  EXPECT_EQ(counts.num_steps, 8);
  expect_rows("a");
  expect_tensors("a", {1, 2});
  const rhythm::HeadGroups groups = load_head_groups(counts.groups_file), reference = expected_groups();
  EXPECT_EQ(groups.layers, reference.layers);
  EXPECT_EQ(groups.local, reference.local);
  EXPECT_EQ(groups.global, reference.global);
  EXPECT_EQ(groups.num_sequences, 2);  // the third has no response
  for (size_t i = 0; i < reference.distance.size(); ++i)
    EXPECT_NEAR(groups.distance[i], reference.distance[i], bound_of("distance_ns", reference.distance[i]));
}

TEST_F(ScoreTest, GivenGroupsMeasureTheSameWhateverLayersAreWritten) {
  const std::vector<std::pair<std::string, std::vector<int64_t>>> chosen = {
      {"\"all\"", {0, 1, 2, 3}}, {"[1]", {1}}, {"[0,3]", {0, 3}}, {"\"default\"", {1, 2}}};
  for (const auto& [layers, written] : chosen) {
    SCOPED_TRACE(layers);
    ScoreRequest r = request("b", layers);
    r.groups = expected_groups();
    r.layers_chosen = true;
    EXPECT_EQ(score_file(r).groups_file, "");
    expect_rows("b");
    expect_tensors("b", written);
  }
  // Without a choice: the groups' own layers, whatever the default of the setting is.
  ScoreRequest r = request("c", "\"all\"");
  r.groups = expected_groups();
  score_file(r);
  expect_tensors("c", {1, 2});
}

TEST_F(ScoreTest, MicroBatchesChangeNothing) {
  ScoreRequest r = request("a");
  r.micro_batch_tokens = 1;
  score_file(r);
  expect_rows("a");
  expect_tensors("a", {1, 2});
}

// The share of every single row on the anchors, of which score shows the means of the phases.
TEST_F(ScoreTest, AnchorMassOfEveryRowIsThatOfEagerAttention) {
  const at::NoGradGuard no_grad;
  const rhythm::HeadGroups groups = expected_groups();
  for (size_t i = 0; i < expected_["rows"].size(); ++i) {
    const Json& row = expected_["rows"][i];
    const auto tokens = row["token_ids"].get<std::vector<int64_t>>();
    const auto n = static_cast<int64_t>(tokens.size());
    std::vector<int64_t> step_of(tokens.size(), -1);
    std::vector<std::vector<int64_t>> anchors;
    for (const Json& step : row["steps"]) {
      if (step["anchors"].empty()) continue;
      for (size_t t = step["begin"]; t <= step["end"].get<size_t>(); ++t)
        step_of[t] = static_cast<int64_t>(anchors.size());
      anchors.push_back(step["anchors"].get<std::vector<int64_t>>());
    }
    std::vector<kernels::LayerQk> layers;
    const model::AttentionTap tap{groups.layers,
                                  [&](const kernels::LayerQk& layer) { layers.push_back(layer); }};
    decoder_->hidden(model::pack({tokens}, at::kCPU), &tap);
    std::vector<at::Tensor> mass;  // in the order of groups.global
    for (const kernels::LayerQk& layer : layers) {
      std::vector<int64_t> heads;
      for (const rhythm::Head& h : groups.global)
        if (h.layer == layer.layer) heads.push_back(h.head);
      if (heads.empty()) continue;
      const auto stats = kernels::row_stats(layer.q, layer.k, {0, n}, {.scale = layer.scale, .num_sink = 1});
      mass.push_back(
          kernels::anchor_mass(layer.q, layer.k, stats.lse_ns, {0, n}, layer.scale, step_of, anchors, heads));
    }
    expect_tensor("anchor_mass", at::cat(mass), reference_.load("row" + std::to_string(i) + ".anchor_mass"));
  }
}

TEST_F(ScoreTest, RowsWithoutResponsesAreScoredWithoutSteps) {
  pan::testing::write_text(folder_ / "in.jsonl",
                           "{\"prompt\":\"2 houses\\n\",\"response\":\"\"}\n"
                           "{\"token_ids\":[1,5,9,20],\"prompt_length\":4}\n");
  ScoreRequest r = request("a");
  r.input = folder_ / "in.jsonl";
  const ScoreCounts counts = score_file(r);
  EXPECT_EQ(counts.groups_file, "");
  EXPECT_FALSE(std::filesystem::exists(r.output + ".head_groups.json"));
  const std::vector<Json> got = rows("a");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[1]["logprobs"].size(), 3u);
  EXPECT_TRUE(got[1]["steps"].empty());
  EXPECT_EQ(model::SafetensorsFile(r.tensors).load("row1.entropy").sizes(), (std::vector<int64_t>{2, 4, 4}));
}

TEST_F(ScoreTest, ErrorsNameWhatHelps) {
  const auto error_of = [&](const ScoreRequest& r) -> std::string {
    try {
      score_file(r);
    } catch (const core::Error& error) {
      return error.what();
    }
    return "no error";
  };
  const auto expect_parts = [&](const ScoreRequest& r, const std::vector<std::string>& parts) {
    const std::string text = error_of(r);
    for (const std::string& part : parts)
      EXPECT_NE(text.find(part), std::string::npos) << part << ": " << text;
    EXPECT_EQ(text.find("rhythm.enabled"), std::string::npos) << text;
  };
  pan::testing::write_text(folder_ / "in.jsonl", "{\"prompt\":\"\",\"response\":\"so 2\"}\n");
  ScoreRequest empty = request("a");
  empty.input = folder_ / "in.jsonl";
  expect_parts(empty, {"the prompt gives no token", "in.jsonl line 1", "/prompt", "--chat"});
  expect_parts(request("no_such_folder/a"), {"folder is not there", "no_such_folder/a", "Make "});
  ScoreRequest foreign = request("a");
  foreign.groups = expected_groups();
  foreign.groups.heads_per_layer = 2;
  expect_parts(foreign, {"those of another model", "4 heads", "2 heads", "--head-groups"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a"));
}

TEST_F(ScoreTest, AFullDiskLeavesTheOldTensors) {
  const ScoreRequest r = request("a");
  score_file(r);
  const std::string before = read_text(r.tensors);
  pan::testing::FaultDisk disk;
  disk.limit_bytes(20000);  // enough for the groups, not for the tensors
  core::set_disk(&disk);
  EXPECT_THROW(score_file(r), core::Error);
  EXPECT_EQ(read_text(r.tensors), before);
}

}  // namespace
}  // namespace pan::analysis
