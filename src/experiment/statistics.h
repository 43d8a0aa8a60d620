// The statistics of an experiment as pure functions: the seed is the unit, arms are compared seed by seed.
//
//   const TInterval i = t_interval(accuracies);                       // mean and 95 % interval of an arm
//   const SignFlip p = sign_flip_test(differences);                   // primary test of a paired difference
//   const std::vector<double> adjusted = holm(all_p_values);
//
// Checked against SciPy and statsmodels (tests/fixtures/experiment/make_statistics.py).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace pan::experiment {

double mean_of(const std::vector<double>& x);
// Sample standard deviation (n - 1). Fewer than two values: NaN.
double deviation_of(const std::vector<double>& x);

// Regularised incomplete beta function I_x(a, b), a, b > 0, by its continued fraction (Lentz).
double incomplete_beta(double a, double b, double x);
// Student's t: P(T <= t) and its inverse, any df > 0.
double t_cdf(double t, double df);
double t_quantile(double p, double df);
// P(T' <= t) for the noncentral t with shift `delta`, by integrating over the chi distribution of the
// deviation.
double noncentral_t_cdf(double t, double df, double delta);

struct TInterval {
  double mean = 0;
  double low = 0, high = 0;  // NaN with fewer than two values
};
// Two-sided interval mean +- t(1 - (1 - level) / 2; n - 1) s / sqrt(n).
TInterval t_interval(const std::vector<double>& x, double level = 0.95);

struct SignFlip {
  double p = 1;
  bool exact = true;      // else drawn at random, see num_draws
  int64_t num_draws = 0;  // sign patterns looked at: 2^n, or the number drawn
  double smallest_p = 1;  // 2 / 2^n: no data of this many seeds gives less
};
// Two-sided test of "the differences are symmetric around 0" (Fisher 1935): the share of sign patterns whose
// sum is at least as far from 0 as the observed one. All 2^n patterns for n <= 20; above, `num_random`
// patterns of the stream (seed, kBootstrap), with p = (1 + hits) / (1 + num_random). Sums that differ by
// rounding only count as equal. Empty: p = 1.
SignFlip sign_flip_test(const std::vector<double>& differences, uint64_t seed = 1,
                        int64_t num_random = 200000);

// Mean over deviation of the paired differences (Cohen's d_z). No value where the deviation is 0 or unknown.
std::optional<double> effect_size(const std::vector<double>& differences);
// The factor that takes away d_z's bias in small samples (Hedges 1981): Gamma(df/2) / (sqrt(df/2)
// Gamma((df-1)/2)) with df = n - 1. n >= 3; no value below.
std::optional<double> hedges_factor(int64_t n);

// Holm's step-down adjustment (Holm 1979), in the order given.
std::vector<double> holm(const std::vector<double>& p);

// McNemar's exact test: two-sided binomial p of `only_a` against `only_b` at 1/2. Both 0: 1.
double mcnemar_exact(int64_t only_a, int64_t only_b);

// Power of the two-sided paired t test at level alpha for a mean difference of `difference` where the
// differences have standard deviation `deviation`.
double paired_t_power(double difference, double deviation, int64_t n, double alpha = 0.05);
// The fewest seeds with at least `power`; no value above 100000 or where the deviation is unknown. A
// deviation of 0 needs 2.
std::optional<int64_t> seeds_needed(double difference, double deviation, double power = 0.8,
                                    double alpha = 0.05);
// The fewest seeds with which a sign-flip test of one of `num_comparisons` (Holm) can reach alpha:
// num_comparisons * 2 / 2^n <= alpha.
int64_t seeds_to_reach(int64_t num_comparisons, double alpha = 0.05);

}  // namespace pan::experiment
