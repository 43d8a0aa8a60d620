#include "rhythm/credit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "rhythm/text.h"

namespace pan::rhythm {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

void check_series(const std::vector<double>& x, const CreditInput& input, const char* name) {
  PAN_CHECK(static_cast<int64_t>(x.size()) == input.num_tokens, kInternal,
            "a series has another length than its sequence")
      .where("rhythm::shape_credit")
      .pointer(name)
      .expected(std::to_string(input.num_tokens))
      .got(std::to_string(x.size()));
}

std::vector<int64_t> random_positions(const CreditInput& input, double q) {
  std::vector<int64_t> positions(static_cast<size_t>(input.num_tokens - input.prompt_length));
  std::iota(positions.begin(), positions.end(), input.prompt_length);
  core::rng::Stream stream({input.seed, core::rng::Purpose::kCredit, input.sample_id, 0});
  stream.shuffle(positions);
  positions.resize(static_cast<size_t>(ceil_fraction(q, static_cast<int64_t>(positions.size()))));
  std::sort(positions.begin(), positions.end());
  return positions;
}

// The quantile that leaves at least floor(p (n-1)) values below or equal: p = 0.5 is the lower median. n > 0.
double lower_quantile(std::vector<double> x, double p) {
  const auto rank = static_cast<size_t>(p * static_cast<double>(x.size() - 1));
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(rank), x.end());
  return x[rank];
}

// Eq. 18-19: an anchor in a place of short looks, shortly after a jump, hands part of its bonus to the jump.
void couple(const CreditInput& input, const RhythmConfig& config, CreditResult& result) {
  const int64_t begin = input.prompt_length, end = input.num_tokens;
  const std::vector<double> jumps = waad_jumps(input.waad, begin);
  result.selected = top_q(input.fai, begin, end, config.credit_q);
  result.local = top_q(jumps, begin, end, config.credit_q);
  const auto threshold_set = top_q(jumps, begin, end, config.tau_delta_q.value_or(config.credit_q));
  double tau_delta = std::numeric_limits<double>::infinity();
  for (const int64_t t : threshold_set) tau_delta = std::min(tau_delta, jumps[static_cast<size_t>(t)]);
  std::vector<double> response_waad;
  for (int64_t t = begin; t < end; ++t) {
    const double x = input.waad[static_cast<size_t>(t)];
    if (!std::isnan(x)) response_waad.push_back(x);
  }
  if (response_waad.empty()) return;
  const double tau_waad = lower_quantile(std::move(response_waad), config.tau_waad_quantile);
  for (const int64_t t : result.selected) {
    if (!(input.waad[static_cast<size_t>(t)] <= tau_waad)) continue;
    int64_t best = -1;
    for (int64_t s = std::max(begin, t - config.k); s < t; ++s) {
      const double jump = jumps[static_cast<size_t>(s)];
      if (std::isnan(jump)) continue;
      if (best < 0 || jump >= jumps[static_cast<size_t>(best)]) best = s;
    }
    if (best < 0 || jumps[static_cast<size_t>(best)] < tau_delta) continue;
    result.dominated.push_back(t);
    result.introduced.push_back(best);
  }
  auto& intro = result.introduced;
  std::sort(intro.begin(), intro.end());
  intro.erase(std::unique(intro.begin(), intro.end()), intro.end());
}

}  // namespace

std::vector<double> waad_jumps(const std::vector<double>& waad, int64_t prompt_length) {
  std::vector<double> jumps(waad.size(), kMissing);
  for (size_t t = static_cast<size_t>(prompt_length); t + 1 < waad.size(); ++t)
    jumps[t] = std::abs(waad[t] - waad[t + 1]);
  return jumps;
}

std::vector<int64_t> top_q(const std::vector<double>& x, int64_t begin, int64_t end, double q,
                           CreditSelect select) {
  std::vector<int64_t> positions;
  for (int64_t t = begin; t < end; ++t)
    if (!std::isnan(x[static_cast<size_t>(t)])) positions.push_back(t);
  const double sign = select == CreditSelect::kTop ? 1 : -1;
  std::stable_sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) {
    return sign * x[static_cast<size_t>(a)] > sign * x[static_cast<size_t>(b)];
  });
  positions.resize(static_cast<size_t>(ceil_fraction(q, static_cast<int64_t>(positions.size()))));
  std::sort(positions.begin(), positions.end());
  return positions;
}

CreditResult shape_credit(const CreditInput& input, const RhythmConfig& config) {
  PAN_CHECK(0 <= input.prompt_length && input.prompt_length <= input.num_tokens, kInternal,
            "a prompt is longer than its sequence")
      .where("rhythm::shape_credit");
  const int64_t begin = input.prompt_length, end = input.num_tokens;
  CreditResult result;
  result.gamma.assign(static_cast<size_t>(end - begin), 1.0);
  const double bonus = config.gamma_amp - 1;
  const auto gamma = [&](int64_t t) -> double& { return result.gamma[static_cast<size_t>(t - begin)]; };
  switch (config.credit) {
    case Credit::kNone:
      return result;
    case Credit::kRandom:
      result.selected = random_positions(input, config.credit_q);
      break;
    case Credit::kEntropy:
      check_series(input.token_entropy, input, "token_entropy");
      result.selected = top_q(input.token_entropy, begin, end, config.credit_q, config.credit_select);
      break;
    case Credit::kLocalChunk:
      check_series(input.waad, input, "waad");
      result.selected =
          top_q(waad_jumps(input.waad, begin), begin, end, config.credit_q, config.credit_select);
      break;
    case Credit::kGlobalAnchor:
      check_series(input.fai, input, "fai");
      result.selected = top_q(input.fai, begin, end, config.credit_q, config.credit_select);
      break;
    case Credit::kCoupled:
      check_series(input.waad, input, "waad");
      check_series(input.fai, input, "fai");
      couple(input, config, result);
      break;
  }
  for (const int64_t t : result.selected) gamma(t) += bonus;
  for (const int64_t t : result.dominated) gamma(t) -= config.alpha * bonus;
  for (const int64_t t : result.introduced) gamma(t) += config.alpha * bonus;
  return result;
}

}  // namespace pan::rhythm
