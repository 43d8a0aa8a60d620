#include "analysis/score_file.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "kernels/logprob_entropy.h"
#include "model/safetensors.h"
#include "rhythm/measure.h"
#include "tasks/jsonl_rows.h"

namespace pan::analysis {
namespace {

struct Row {
  std::vector<int64_t> tokens;
  int64_t prompt_length = 0;
};

Row parse_row(const ScoreRequest& r, const core::Json& json, const std::string& source) {
  Row row;
  if (json.contains("token_ids")) {
    PAN_CHECK(json.at("token_ids").is_array(), kData, "token_ids is not a list")
        .where(source)
        .pointer("/token_ids")
        .expected("a list of token ids")
        .got(json.at("token_ids").type_name())
        .remedy("Mend that line");
    for (size_t i = 0; i < json.at("token_ids").size(); ++i)
      row.tokens.push_back(core::get_required<int64_t>(json, "/token_ids/" + std::to_string(i), source));
    row.prompt_length = core::get_required<int64_t>(json, "/prompt_length", source);
  } else {
    row.tokens = r.encode_prompt(core::get_required<std::string>(json, "/prompt", source));
    row.prompt_length = static_cast<int64_t>(row.tokens.size());
    const auto response = r.tokenizer.encode(core::get_required<std::string>(json, "/response", source));
    row.tokens.insert(row.tokens.end(), response.begin(), response.end());
  }
  const auto n = static_cast<int64_t>(row.tokens.size());
  const model::Arch& arch = r.decoder.arch();
  PAN_CHECK(json.contains("token_ids") || row.prompt_length > 0, kData, "the prompt gives no token")
      .where(source)
      .pointer("/prompt")
      .expected("one token or more: this tokenizer puts none before a text by itself")
      .got("\"" + json.at("prompt").get<std::string>() + "\"")
      .remedy("Give a prompt, or a chat template with --chat");
  PAN_CHECK(row.prompt_length >= 1 && row.prompt_length <= n, kData, "the prompt length does not fit the row")
      .where(source)
      .pointer("/prompt_length")
      .expected("1.." + std::to_string(n))
      .got(std::to_string(row.prompt_length))
      .remedy("Mend that line");
  PAN_CHECK(n <= arch.max_positions, kData, "the row is longer than the model's context")
      .where(source)
      .expected("at most " + std::to_string(arch.max_positions) + " tokens")
      .got(std::to_string(n))
      .remedy("Shorten the row or leave it out");
  for (int64_t id : row.tokens)
    PAN_CHECK(id >= 0 && id < arch.vocab_size, kData, "a token is outside the vocabulary")
        .where(source)
        .expected("0.." + std::to_string(arch.vocab_size - 1))
        .got(std::to_string(id))
        .remedy("Were the ids made with this model's tokenizer? See pan-ppo tokenize");
  return row;
}

std::vector<Row> read_rows(const ScoreRequest& r) {
  std::vector<Row> rows;
  tasks::read_jsonl(r.input, "It has rows {\"token_ids\", \"prompt_length\"} or {\"prompt\", \"response\"}",
                    [&](const core::Json& json, int64_t line) {
                      rows.push_back(parse_row(r, json, r.input + " line " + std::to_string(line)));
                    });
  return rows;
}

// Rows in order, as many at a time as fit micro_batch_tokens.
std::vector<std::pair<size_t, size_t>> batches_of(const std::vector<Row>& rows, int64_t tokens) {
  std::vector<std::pair<size_t, size_t>> batches;
  size_t begin = 0;
  int64_t filled = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto n = static_cast<int64_t>(rows[i].tokens.size());
    if (i > begin && filled + n > tokens) {
      batches.emplace_back(begin, i);
      begin = i;
      filled = 0;
    }
    filled += n;
  }
  batches.emplace_back(begin, rows.size());
  return batches;
}

struct Forward {
  std::vector<kernels::LayerQk> layers;
  model::Batch batch;
  std::vector<int64_t> prompt_lengths;
  at::Tensor hidden;
};

Forward forward(const ScoreRequest& r, const std::vector<Row>& rows, std::pair<size_t, size_t> range,
                const std::vector<int64_t>& tap_layers) {
  Forward f;
  std::vector<std::vector<int64_t>> sequences;
  for (size_t i = range.first; i < range.second; ++i) {
    sequences.push_back(rows[i].tokens);
    f.prompt_lengths.push_back(rows[i].prompt_length);
  }
  f.batch = model::pack(sequences, r.decoder.options().device);
  const model::AttentionTap tap{tap_layers,
                                [&](const kernels::LayerQk& layer) { f.layers.push_back(layer); }};
  f.hidden = r.decoder.hidden(f.batch, &tap);
  return f;
}

bool contains(const std::vector<int64_t>& layers, int64_t layer) {
  return std::find(layers.begin(), layers.end(), layer) != layers.end();
}

// Which layers are tapped, and which of them are written.
struct Layers {
  std::vector<int64_t> tapped, written;
};

Layers layers_of(const ScoreRequest& r, bool any_response) {
  const model::Arch& arch = r.decoder.arch();
  Layers layers;
  const std::vector<int64_t> chosen =
      rhythm::resolve_layers(r.rhythm, model::default_tap_layers(arch), arch.num_layers);
  layers.written = r.groups.empty() || r.layers_chosen ? chosen : r.groups.layers;
  layers.tapped = r.tensors.empty() ? std::vector<int64_t>() : layers.written;
  std::vector<int64_t> for_groups;
  if (any_response && r.groups.empty()) for_groups = chosen;
  for (const auto* group : {&r.groups.local, &r.groups.global})
    for (const rhythm::Head& head : *group) for_groups.push_back(head.layer);
  for (const int64_t layer : for_groups)
    if (!contains(layers.tapped, layer)) layers.tapped.push_back(layer);
  std::sort(layers.tapped.begin(), layers.tapped.end());
  return layers;
}

void check_groups(const ScoreRequest& r) {
  const model::Arch& arch = r.decoder.arch();
  for (const int64_t layer : r.groups.layers)
    PAN_CHECK(layer < arch.num_layers && r.groups.heads_per_layer == arch.num_heads, kData,
              "the head groups are those of another model")
        .where("--head-groups")
        .expected("at most " + std::to_string(arch.num_layers) + " layers of " +
                  std::to_string(arch.num_heads) + " heads")
        .got("layer " + std::to_string(layer) + " and " + std::to_string(r.groups.heads_per_layer) + " heads")
        .remedy("Take the groups of this model's run, or leave --head-groups out to calibrate on the input");
}

void check_folder(const std::string& file) {
  const size_t slash = file.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  PAN_CHECK(file.empty() || core::is_folder(folder), kIo, "the file's folder is not there")
      .where(file)
      .expected("a folder")
      .got("nothing that is one")
      .remedy("Make " + folder + " first");
}

core::Json numbers(const float* values, int64_t n) {
  core::Json list = core::Json::array();
  for (int64_t i = 0; i < n; ++i) list.push_back(values[i]);
  return list;
}

core::Json row_json(const Forward& f, size_t b, const at::Tensor& logprob, const at::Tensor& entropy,
                    const rhythm::SequenceRhythm& s) {
  const int64_t begin = f.batch.cu_seqlens[b], n = f.batch.cu_seqlens[b + 1] - begin;
  core::Json json = {{"logprobs", numbers(logprob.const_data_ptr<float>() + begin, n - 1)},
                     {"token_entropy", numbers(entropy.const_data_ptr<float>() + begin, n - 1)},
                     {"steps", core::Json::array()}};
  for (const rhythm::StepRhythm& step : s.steps)
    json["steps"].push_back({{"begin", step.step.begin},
                             {"end", step.step.end},
                             {"preplan_entropy", step.preplan_entropy},
                             {"anchor_concentration", step.anchor_concentration},
                             {"anchors", step.anchors}});
  return json;
}

void add_tensors(model::NamedTensors& out, const Forward& f, size_t first_row,
                 const std::vector<int64_t>& wanted, const rhythm::RhythmConfig& config) {
  std::vector<kernels::LayerQk> layers;
  for (const kernels::LayerQk& layer : f.layers)
    if (contains(wanted, layer.layer)) layers.push_back(layer);
  const rhythm::HeadStatistics h =
      rhythm::head_statistics(layers, f.batch.cu_seqlens, f.prompt_lengths, config);
  for (size_t b = 0; b < f.prompt_lengths.size(); ++b) {
    const int64_t begin = f.batch.cu_seqlens[b], n = f.batch.cu_seqlens[b + 1] - begin;
    auto put = [&](const char* name, const at::Tensor& t) {
      out.emplace_back("row" + std::to_string(first_row + b) + "." + name,
                       t.narrow(2, begin, n).contiguous());
    };
    put("entropy", h.entropy);
    put("norm_entropy", h.norm_entropy);
    put("distance", h.distance);
    put("distance_ns", h.distance_ns);
    put("waad", h.waad);
    put("fai", h.fai);
    put("sink_mass", h.sink_mass);
  }
}

rhythm::HeadGroups calibrated(const ScoreRequest& r, const std::vector<Row>& rows,
                              const std::vector<std::pair<size_t, size_t>>& batches,
                              const std::vector<int64_t>& tapped, const std::function<void(int64_t)>& done) {
  const auto heads = static_cast<int64_t>(tapped.size()) * r.decoder.arch().num_heads;
  PAN_CHECK(heads >= 2, kConfig, "head groups need at least 2 tapped heads")
      .where("pan-ppo score")
      .pointer("--layers")
      .expected("2 heads or more")
      .got(std::to_string(heads))
      .remedy("Name more layers, or give the groups with --head-groups");
  rhythm::HeadGroupCalibrator calibrator(r.rhythm);
  for (size_t i = 0; i < batches.size(); ++i) {
    const Forward f = forward(r, rows, batches[i], tapped);
    calibrator.add(f.layers, f.batch.cu_seqlens, f.prompt_lengths);
    done(static_cast<int64_t>(i) + 1);
  }
  return calibrator.finish();
}

}  // namespace

ScoreCounts score_file(const ScoreRequest& r) {
  const at::NoGradGuard no_grad;
  check_folder(r.output);
  check_folder(r.tensors);
  check_groups(r);
  const std::vector<Row> rows = read_rows(r);
  const bool any_response = std::any_of(rows.begin(), rows.end(), [](const Row& row) {
    return row.prompt_length < static_cast<int64_t>(row.tokens.size());
  });
  const auto batches = batches_of(rows, r.micro_batch_tokens);
  const auto total = static_cast<int64_t>(batches.size());
  const Layers layers = layers_of(r, any_response);
  const bool calibrate = r.groups.empty() && any_response;
  auto step = [&](int64_t done, int64_t of) {
    if (r.progress && !r.progress(done, of))
      throw core::Error(core::ErrorKind::kInterrupted, "stopped by a signal");
  };

  ScoreCounts counts{.num_rows = static_cast<int64_t>(rows.size()), .groups_file = ""};
  if (!any_response)
    core::log_warn("score without responses",
                   "no row has a response: there are no steps, and no head groups are found");
  rhythm::HeadGroups groups = r.groups;
  if (calibrate) {
    groups = calibrated(r, rows, batches, layers.tapped, [&](int64_t done) { step(done, 2 * total); });
    counts.groups_file = r.output + ".head_groups.json";
  }

  std::string lines;
  model::NamedTensors tensors;
  for (int64_t i = 0; i < total; ++i) {
    const auto range = batches[static_cast<size_t>(i)];
    const Forward f = forward(r, rows, range, layers.tapped);
    // Row n predicts token n + 1; the last row of a sequence predicts nothing and is left out of the output.
    const at::Tensor targets =
        at::cat({f.batch.tokens.narrow(0, 1, f.batch.num_tokens() - 1), f.batch.tokens.narrow(0, 0, 1)});
    const auto scores = kernels::logprob_entropy(f.hidden, r.decoder.output_weight(), targets, {});
    const at::Tensor logprob = scores.logprob.cpu().contiguous(), entropy = scores.entropy.cpu().contiguous();
    std::vector<rhythm::SequenceText> texts;
    for (size_t row = range.first; row < range.second; ++row)
      texts.push_back(rhythm::text_of(r.tokenizer, rows[row].tokens, rows[row].prompt_length));
    std::vector<rhythm::SequenceRhythm> measured(texts.size());
    if (any_response) measured = rhythm::measure(f.layers, f.batch.cu_seqlens, texts, groups, r.rhythm);
    for (size_t b = 0; b < measured.size(); ++b) {
      lines += core::dump_json(row_json(f, b, logprob, entropy, measured[b])) + "\n";
      counts.num_steps += static_cast<int64_t>(measured[b].steps.size());
    }
    counts.num_tokens += f.batch.num_tokens();
    if (!r.tensors.empty()) add_tensors(tensors, f, range.first, layers.written, r.rhythm);
    step(calibrate ? total + i + 1 : i + 1, calibrate ? 2 * total : total);
  }
  if (calibrate)
    core::write_file_atomic(core::disk(), counts.groups_file, core::dump_json(groups.to_json(), 2) + "\n");
  if (!r.tensors.empty()) model::write_safetensors_atomic(r.tensors, tensors);
  core::write_file_atomic(core::disk(), r.output, lines);
  return counts;
}

rhythm::HeadGroups load_head_groups(const std::string& given) {
  std::string path = given;
  if (core::is_folder(path + "/checkpoints/latest")) path += "/checkpoints/latest";
  if (!core::is_folder(path)) return rhythm::HeadGroups::from_json(core::read_json_file(path), path);
  path += "/state.json";
  const core::Json json = core::read_json_file(path);
  const core::Json::json_pointer at("/loop/state/groups");
  PAN_CHECK(json.contains(at) && !json.at(at).is_null(), kData, "the checkpoint holds no head groups")
      .where(path)
      .pointer("/loop/state/groups")
      .expected("head groups")
      .got("none")
      .remedy(
          "It was trained with rhythm.enabled = false; leave --head-groups out to calibrate on the input");
  return rhythm::HeadGroups::from_json(json.at(at), path);
}

}  // namespace pan::analysis
