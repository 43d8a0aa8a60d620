// Settings of the rhythm reward and of credit shaping: the keys under `rhythm.`.
//
//   RhythmConfig c;
//   core::read_fields([&](core::Fields& f) { describe(f, c); }, json, "run.json");
//   check(c);   // pairs of settings that exclude each other
//
// What each setting means is defined in docs/rhythm.md; the section is named beside it. Everything is inline
// because the configuration module includes this header without linking the module.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/schema.h"

namespace pan::rhythm {

enum class Form { kContrast, kLevel };
enum class Control { kNone, kShuffled };
enum class StepRule { kNewline, kSentence, kWaad };
enum class Credit { kNone, kRandom, kEntropy, kLocalChunk, kGlobalAnchor, kCoupled };
enum class CreditSelect { kTop, kBottom };

// Length of the first phase of a step: clamp(ceil(fraction * length), min_tokens, max_tokens), never more
// than the step.
struct PreplanConfig {
  double fraction = 0.25;
  int64_t min_tokens = 1;
  int64_t max_tokens = 8;
};

// Size of a step's anchor set: max(min_keys, ceil(fraction * first position of the step)), never more than
// are eligible.
struct AnchorConfig {
  double fraction = 0.05;
  int64_t min_keys = 4;
};

// Standardisation of the step statistics.
struct ZConfig {
  double clip = 3.0;
  double decay = 0.99;
  int64_t min_steps = 8;
  double min_sigma = 1e-6;
};

struct RhythmConfig {
  bool enabled = true;
  double lambda = 0.1;
  Form form = Form::kContrast;

  // Measuring (sections 1 to 5).
  std::string layers = "\"default\"";  // JSON: "default", "all" or a list of layer numbers
  int64_t num_sink = 1;
  bool exclude_sink = true;
  int64_t calibration_sequences = 64;
  int64_t refresh_every = 0;
  int64_t waad_window = 10;
  int64_t h_lo = 10;
  int64_t h_hi = 100;
  int64_t fai_min_rows = 8;
  double single_key_entropy = 0.0;
  StepRule steps = StepRule::kNewline;
  double step_q = 0.4;
  int64_t min_content_tokens = 8;
  PreplanConfig preplan;
  AnchorConfig anchors;

  // Reward (section 6).
  double w_pre = 0.5;
  double w_anc = 0.5;
  std::optional<double> cap = 0.45;
  ZConfig z;
  Control control = Control::kNone;
  int64_t guard_window = 20;

  // Credit shaping (section 8).
  Credit credit = Credit::kNone;
  CreditSelect credit_select = CreditSelect::kTop;
  double credit_q = 0.4;
  double gamma_amp = 1.5;
  double alpha = 0.5;
  int64_t k = 3;
  double tau_waad_quantile = 0.5;
  std::optional<double> tau_delta_q;
};

inline void describe(core::Fields& f, PreplanConfig& c) {
  f.number("fraction", c.fraction,
           {.min = 0, .max = 1, .exclusive_min = true, .doc = "Share of a step that is its preplan phase."});
  f.integer("min_tokens", c.min_tokens, {.min = 1, .unit = "token", .doc = "Shortest preplan phase."});
  f.integer("max_tokens", c.max_tokens, {.min = 1, .unit = "token", .doc = "Longest preplan phase."});
}

inline void describe(core::Fields& f, AnchorConfig& c) {
  f.number("fraction", c.fraction,
           {.min = 0, .max = 1, .doc = "Anchors of a step per token before it, rounded up."});
  f.integer("min_keys", c.min_keys, {.min = 1, .unit = "token", .doc = "Fewest anchors of a step."});
}

inline void describe(core::Fields& f, ZConfig& c) {
  f.number("clip", c.clip,
           {.min = 0, .exclusive_min = true, .doc = "Standardised values are cut to +-clip."});
  f.number("decay", c.decay,
           {.min = 0,
            .max = 1,
            .exclusive_min = true,
            .doc = "Weight an iteration keeps in the running deviation."});
  f.integer("min_steps", c.min_steps,
            {.min = 1, .unit = "step", .doc = "With fewer measured steps in a batch, z is 0."});
  f.number("min_sigma", c.min_sigma, {.min = 0, .doc = "With a smaller running deviation, z is 0."});
}

inline void describe(core::Fields& f, RhythmConfig& c) {
  f.boolean("enabled", c.enabled, "Measure the rhythm. False turns reward and credit shaping off.");
  f.number("lambda", c.lambda,
           {.min = 0, .doc = "Weight of the rhythm reward; 0 measures and pays nothing."});
  f.choice(
      "form", c.form, {{"contrast", Form::kContrast}, {"level", Form::kLevel}},
      "Reward the difference between the two phases of a step, or the level of each phase's own statistic.");
  f.json_text("layers", c.layers,
              "Tapped layers: \"default\" (five of the middle third), \"all\", or a list.");
  f.integer("num_sink", c.num_sink,
            {.min = 0, .unit = "token", .doc = "Leading positions that are attention sinks."});
  f.boolean("exclude_sink", c.exclude_sink,
            "Leave sink keys out of the distance that sorts heads into groups.");
  f.integer("calibration_sequences", c.calibration_sequences,
            {.min = 1, .unit = "sequence", .doc = "Rollouts that decide the head groups."});
  f.integer("refresh_every", c.refresh_every,
            {.min = 0, .unit = "iteration", .doc = "Find the head groups again so often; 0 = never."});
  f.integer("waad_window", c.waad_window, {.min = 1, .unit = "token", .doc = "Distances are cut at this."});
  f.integer("h_lo", c.h_lo,
            {.min = 1, .unit = "token", .doc = "Nearest reader that counts as future attention."});
  f.integer("h_hi", c.h_hi, {.min = 1, .unit = "token", .doc = "Farthest reader that counts."});
  f.integer(
      "fai_min_rows", c.fai_min_rows,
      {.min = 1, .unit = "token", .doc = "A key is selected by future attention only with so many readers."});
  f.number("single_key_entropy", c.single_key_entropy,
           {.min = 0,
            .max = 1,
            .doc = "Normalised entropy of a row that sees fewer than 2 keys beside the sinks."});
  f.choice("steps", c.steps,
           {{"newline", StepRule::kNewline}, {"sentence", StepRule::kSentence}, {"waad", StepRule::kWaad}},
           "What ends a reasoning step.");
  f.number("step_q", c.step_q,
           {.min = 0,
            .max = 1,
            .exclusive_min = true,
            .doc = "With steps = waad: share of jumps that may start one."});
  f.integer("min_content_tokens", c.min_content_tokens,
            {.min = 1, .unit = "token", .doc = "Shorter steps are joined to their neighbours."});
  f.object("preplan", c.preplan, "First phase of a step.");
  f.object("anchors", c.anchors, "Anchor set of a step.");
  f.number("w_pre", c.w_pre, {.min = 0, .doc = "Weight of the preplan entropy."});
  f.number("w_anc", c.w_anc, {.min = 0, .doc = "Weight of the anchor concentration."});
  f.optional_number(
      "cap", c.cap,
      {.min = 0, .exclusive_min = true, .doc = "Bound of an answer's rhythm reward; null = none."});
  f.object("z", c.z, "Standardisation of the step statistics.");
  f.choice("control", c.control, {{"none", Control::kNone}, {"shuffled", Control::kShuffled}},
           "Control of experiments: shuffled pays each step the reward of a random step of the iteration.");
  f.integer("guard_window", c.guard_window,
            {.min = 0,
             .unit = "iteration",
             .doc = "Warns when rhythm rises and accuracy falls over so many iterations; 0 = never."});
  f.choice("credit", c.credit,
           {{"none", Credit::kNone},
            {"random", Credit::kRandom},
            {"entropy", Credit::kEntropy},
            {"local_chunk", Credit::kLocalChunk},
            {"global_anchor", Credit::kGlobalAnchor},
            {"coupled", Credit::kCoupled}},
           "Which tokens' advantages are amplified.");
  f.choice("credit_select", c.credit_select, {{"top", CreditSelect::kTop}, {"bottom", CreditSelect::kBottom}},
           "Amplify the largest or the smallest; bottom only with entropy, local_chunk and global_anchor.");
  f.number("credit_q", c.credit_q,
           {.min = 0, .max = 1, .doc = "Share of tokens that credit shaping selects."});
  f.number("gamma_amp", c.gamma_amp, {.min = 0, .doc = "Factor on the advantage of selected tokens."});
  f.number("alpha", c.alpha,
           {.min = 0,
            .max = 1,
            .doc = "With coupled: share of a dominated anchor's bonus that its introducer gets."});
  f.integer(
      "k", c.k,
      {.min = 1, .unit = "token", .doc = "With coupled: how far before an anchor its introducer may be."});
  f.number(
      "tau_waad_quantile", c.tau_waad_quantile,
      {.min = 0, .max = 1, .doc = "With coupled: an anchor is dominated only below this quantile of WAAD."});
  f.optional_number(
      "tau_delta_q", c.tau_delta_q,
      {.min = 0, .max = 1, .doc = "With coupled: share of WAAD jumps that introduce; null = credit_q."});
}

// What describe() cannot say field by field. Errors: kConfig with the pointer below `prefix`.
inline void check(const RhythmConfig& c, const std::string& prefix = "/rhythm") {
  PAN_CHECK(c.h_hi >= c.h_lo, kConfig, "the band of future attention is empty")
      .pointer(prefix + "/h_hi")
      .expected(">= rhythm.h_lo = " + std::to_string(c.h_lo))
      .got(std::to_string(c.h_hi));
  PAN_CHECK(c.h_hi - c.h_lo + 1 >= c.fai_min_rows, kConfig, "no key can have that many readers in the band")
      .pointer(prefix + "/fai_min_rows")
      .expected("<= rhythm.h_hi - rhythm.h_lo + 1 = " + std::to_string(c.h_hi - c.h_lo + 1))
      .got(std::to_string(c.fai_min_rows));
  PAN_CHECK(c.preplan.max_tokens >= c.preplan.min_tokens, kConfig, "the preplan phase has no possible length")
      .pointer(prefix + "/preplan/max_tokens")
      .expected(">= rhythm.preplan.min_tokens = " + std::to_string(c.preplan.min_tokens))
      .got(std::to_string(c.preplan.max_tokens));
  PAN_CHECK(c.guard_window == 0 || c.guard_window >= 5, kConfig,
            "the guard's window is too short for a trend")
      .pointer(prefix + "/guard_window")
      .expected("0 or >= 5")
      .got(std::to_string(c.guard_window))
      .remedy("Set rhythm.guard_window to 20, or to 0 to turn the guard off");
  const bool selects =
      c.credit == Credit::kEntropy || c.credit == Credit::kLocalChunk || c.credit == Credit::kGlobalAnchor;
  PAN_CHECK(c.credit_select == CreditSelect::kTop || selects, kConfig,
            "credit_select bottom has no meaning with this credit")
      .pointer(prefix + "/credit_select")
      .expected("top, or rhythm.credit entropy, local_chunk or global_anchor")
      .got("bottom")
      .remedy("Remove credit_select or choose another credit");
}

}  // namespace pan::rhythm
