#include "experiment/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/rng.h"

namespace pan::experiment {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostExact = 20;
constexpr int64_t kMostSeeds = 100000;

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

double beta_fraction(double a, double b, double x) {
  constexpr double tiny = 1e-300;
  auto away_from_zero = [](double v) { return std::fabs(v) < tiny ? tiny : v; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), h = d;
  for (int i = 1; i < 10000; ++i) {
    const double m = i, m2 = 2 * m;
    const double even = m * (b - m) * x / ((a + m2 - 1) * (a + m2));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + m2) * (a + m2 + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    const double step = d * c;
    h *= step;
    if (std::fabs(step - 1) < 1e-16) break;
  }
  return h;
}

// Sign patterns of x[i..] that, added to `sum`, end at least `limit` away from 0.
int64_t count_far(const std::vector<double>& x, size_t i, double sum, double limit) {
  if (i == x.size()) return std::fabs(sum) >= limit;
  return count_far(x, i + 1, sum + x[i], limit) + count_far(x, i + 1, sum - x[i], limit);
}

}  // namespace

double mean_of(const std::vector<double>& x) {
  return x.empty() ? kNan : std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double deviation_of(const std::vector<double>& x) {
  if (x.size() < 2) return kNan;
  const double mean = mean_of(x);
  double sum = 0;
  for (double v : x) sum += (v - mean) * (v - mean);
  return std::sqrt(sum / static_cast<double>(x.size() - 1));
}

double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  // The fraction converges fast on this side of the mean only.
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double t_cdf(double t, double df) {
  const double tail = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t));
  return t > 0 ? 1 - tail : tail;
}

double t_quantile(double p, double df) {
  if (p == 0.5) return 0;
  if (p < 0.5) return -t_quantile(1 - p, df);
  double low = 0, high = 1;
  while (t_cdf(high, df) < p) low = high, high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-15 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (t_cdf(middle, df) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double noncentral_t_cdf(double t, double df, double delta) {
  // T' = (Z + delta) / S with df S^2 chi-squared: P = integral over s of Phi(t s - delta) f(s) ds.
  const double log_front = std::log(2.0) + 0.5 * df * std::log(df / 2) - std::lgamma(df / 2);
  auto density = [&](double s) {
    if (s <= 0) return df == 1 ? std::exp(log_front) : 0.0;
    return std::exp(log_front + (df - 1) * std::log(s) - 0.5 * df * s * s);
  };
  // S has deviation below 1 / sqrt(2 df) around a mean just below 1.
  const double reach = 40 / std::sqrt(2 * df);
  const double low = std::max(0.0, 1 - reach), high = 1 + reach;
  constexpr int kPanels = 8000;
  const double h = (high - low) / kPanels;
  double sum = 0;
  for (int i = 0; i <= kPanels; ++i) {
    const double s = low + h * i, weight = i == 0 || i == kPanels ? 1 : (i % 2 ? 4 : 2);
    sum += weight * density(s) * normal_cdf(t * s - delta);
  }
  return std::min(1.0, sum * h / 3);
}

TInterval t_interval(const std::vector<double>& x, double level) {
  const double mean = mean_of(x);
  if (x.size() < 2) return {mean, kNan, kNan};
  const auto n = static_cast<double>(x.size());
  const double half = t_quantile(0.5 + level / 2, n - 1) * deviation_of(x) / std::sqrt(n);
  return {mean, mean - half, mean + half};
}

SignFlip sign_flip_test(const std::vector<double>& d, uint64_t seed, int64_t num_random) {
  SignFlip result;
  if (d.empty()) return result;
  double sum = 0, size = 0;
  for (double v : d) sum += v, size += std::fabs(v);
  const double limit = std::fabs(sum) - 1e-12 * size;
  result.smallest_p = std::min(1.0, std::ldexp(2.0, -static_cast<int>(d.size())));
  if (d.size() <= kMostExact) {
    result.num_draws = int64_t{1} << d.size();
    // By symmetry the first sign can stay.
    result.p = static_cast<double>(2 * count_far(d, 1, d[0], limit)) / static_cast<double>(result.num_draws);
    return result;
  }
  core::rng::Stream stream({seed, core::rng::Purpose::kBootstrap, 0, 0});
  int64_t hits = 0;
  for (int64_t i = 0; i < num_random; ++i) {
    double drawn = 0;
    for (double v : d) drawn += stream.below(2) ? v : -v;
    hits += std::fabs(drawn) >= limit;
  }
  result.exact = false;
  result.num_draws = num_random;
  result.p = static_cast<double>(1 + hits) / static_cast<double>(1 + num_random);
  return result;
}

std::optional<double> effect_size(const std::vector<double>& d) {
  const double deviation = deviation_of(d);
  if (!(deviation > 0)) return {};
  return mean_of(d) / deviation;
}

std::optional<double> hedges_factor(int64_t n) {
  if (n < 3) return {};
  const double df = static_cast<double>(n - 1);
  return std::exp(std::lgamma(df / 2) - std::lgamma((df - 1) / 2)) / std::sqrt(df / 2);
}

std::vector<double> holm(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double running = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    running = std::max(running, std::min(1.0, static_cast<double>(p.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = running;
  }
  return adjusted;
}

double mcnemar_exact(int64_t only_a, int64_t only_b) {
  const int64_t n = only_a + only_b, k = std::min(only_a, only_b);
  double tail = 0;
  for (int64_t i = 0; i <= k; ++i) {
    const auto x = static_cast<double>(i), m = static_cast<double>(n);
    tail += std::exp(std::lgamma(m + 1) - std::lgamma(x + 1) - std::lgamma(m - x + 1) - m * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

double paired_t_power(double difference, double deviation, int64_t n, double alpha) {
  const auto count = static_cast<double>(n);
  const double df = count - 1, delta = std::fabs(difference) / deviation * std::sqrt(count);
  const double critical = t_quantile(1 - alpha / 2, df);
  return 1 - noncentral_t_cdf(critical, df, delta) + noncentral_t_cdf(-critical, df, delta);
}

std::optional<int64_t> seeds_needed(double difference, double deviation, double power, double alpha) {
  if (!std::isfinite(deviation) || difference == 0) return {};
  if (deviation == 0) return 2;
  auto enough = [&](int64_t n) { return paired_t_power(difference, deviation, n, alpha) >= power; };
  int64_t low = 1, high = 2;  // `low` is too few, `high` may be
  while (!enough(high)) {
    low = high;
    high *= 2;
    if (high > 2 * kMostSeeds) return {};
  }
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (enough(middle) ? high : low) = middle;
  }
  if (high > kMostSeeds) return {};
  return high;
}

int64_t seeds_to_reach(int64_t num_comparisons, double alpha) {
  int64_t n = 1;
  while (static_cast<double>(num_comparisons) * std::ldexp(2.0, -static_cast<int>(n)) > alpha) ++n;
  return n;
}

}  // namespace pan::experiment
