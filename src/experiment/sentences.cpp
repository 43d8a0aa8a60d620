#include "experiment/sentences.h"

#include <cmath>

#include "experiment/text.h"

namespace pan::experiment {
namespace {

std::string bounds(const TInterval& i, bool in_percent) {
  if (std::isnan(i.low)) return "";
  const double scale = in_percent ? 100 : 1;
  return format(in_percent ? " [%+.1f, %+.1f]" : " [%+.4g, %+.4g]", scale * i.low, scale * i.high);
}

// Two evaluations of untrained models.
std::string once_sentence(const Comparison& c, const std::string& pair, const std::string& difference) {
  std::string text = "Nothing is claimed about " + pair + " (" + difference +
                     "): neither is trained and each is evaluated once, so there are no seeds to compare and "
                     "no number of them would help.";
  if (!c.items.empty())
    text += " On the same " + plural(c.items[0].num_items, "item") + " McNemar's p is " +
            shown_p(c.items[0].p) + ", which speaks of these items alone.";
  return text;
}

std::string seeds_sentence(const Comparison& c, const Analysis& a, const ExperimentConfig& config) {
  const std::string aim = shown_difference(config.difference_of_interest, a.in_percent).substr(1) +
                          " with probability " + format("%.2g", config.power);
  if (std::isnan(c.deviation))
    return " How many seeds would be needed to see " + aim +
           " cannot be said: that takes the spread of two seeds or more.";
  const auto about = [](const std::optional<int64_t>& n) {
    return n ? std::to_string(*n) : std::string("more than 100000");
  };
  return " To see " + aim + ", about " + about(c.needed) +
         " seeds would be needed for this comparison alone" +
         (a.num_tests > 1 ? ", " + about(c.needed_all) + " for all " + std::to_string(a.num_tests) : "") +
         ".";
}

std::string result_sentence(const Comparison& c, const Analysis& a, const ExperimentConfig& config) {
  const std::string pair = c.arm + " and " + c.against;
  const std::string difference =
      shown_difference(c.interval.mean, a.in_percent) + bounds(c.interval, a.in_percent);
  const std::string p = ", p = " + shown_p(c.test.p), adjusted = ", adjusted " + shown_p(c.adjusted_p);
  const auto num_seeds = static_cast<int64_t>(c.seeds.size());
  if (a.num_missing > 0)
    return "Provisional: " + c.arm + " less " + c.against + " is " + difference + " over " +
           std::to_string(num_seeds) + " of " + plural(c.num_planned, "seed") + p +
           (c.is_complete() ? adjusted : "") + "; no significance is claimed while " +
           plural(a.num_missing, "result") + " of the experiment " + (a.num_missing == 1 ? "is" : "are") +
           " missing.";
  const std::string figures = difference + " over " + plural(num_seeds, "seed") + p + adjusted;
  if (!c.can_reach)
    return "No claim about " + pair + " (" + figures + "): with " + plural(num_seeds, "seed") + " and " +
           plural(a.num_tests, "comparison") + " the smallest adjusted p that any data could give is " +
           shown_p(c.smallest_adjusted_p) + ", above " + format("%.3g", config.alpha) + "; at least " +
           std::to_string(c.seeds_to_reach) + " seeds are needed.";
  if (c.significant)
    return c.arm + " has a " + (c.interval.mean > 0 ? "higher " : "lower ") + config.metric + " than " +
           c.against + ": " + figures + ".";
  return "No difference shown between " + pair + ": " + figures + ".";
}

}  // namespace

std::string sentence_of(const Comparison& c, const Analysis& a, const ExperimentConfig& config) {
  const std::string pair = c.arm + " and " + c.against;
  if (c.seeds.empty())
    return "Nothing can be said about " + pair + ": no seed has finished in both." +
           (c.in_family ? seeds_sentence(c, a, config) : "");
  if (!c.in_family)
    return once_sentence(c, pair,
                         shown_difference(c.interval.mean, a.in_percent) + bounds(c.interval, a.in_percent));
  return result_sentence(c, a, config) + seeds_sentence(c, a, config);
}

std::string warning_of(const Guard& g) {
  std::string why;
  const auto add = [&](const std::string& text) { why += (why.empty() ? "" : "; ") + text; };
  if (g.num_risen > 0)
    add("in " + std::to_string(g.num_risen) + " of " + plural(g.num_trends, "run") +
        " the rhythm terms rose while the accuracy of the samples fell");
  if (g.rhythm_t && *g.rhythm_t > 2 && *g.accuracy_t < -2)
    add("the mean over seeds has t = " + format("%+.1f", *g.rhythm_t) + " for rhythm and " +
        format("%+.1f", *g.accuracy_t) + " for accuracy");
  if (g.num_warned > 0) add(plural(g.num_warned, "run") + " warned");
  return g.arm + ": " + why + ".";
}

std::string shown(double value, bool in_percent) {
  if (std::isnan(value)) return "-";
  return in_percent ? format("%.1f %%", 100 * value) : format("%.4g", value);
}

std::string shown_difference(double value, bool in_percent) {
  if (std::isnan(value)) return "-";
  return in_percent ? format("%+.1f points", 100 * value) : format("%+.4g", value);
}

std::string shown_p(double p) { return p < 0.001 ? format("%.2g", p) : format("%.4f", p); }

}  // namespace pan::experiment
