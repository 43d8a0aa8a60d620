// Every key that is ever logged, with unit, formula and one line. The documentation page is printed from it,
// and the trainer's tests refuse a key that is not in it.
//
//   const metrics::KeyInfo* k = metrics::find_key("reward/format/mean");   // the entry "reward/{term}/mean"
//
// Names are verl's paths where verl has the quantity; rhythm's own begin with rhythm/.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace pan::metrics {

struct KeyInfo {
  std::string
      key;  // {name} stands for one part of a path: "reward/{term}/mean", "val-core/{task}/acc/mean@{n}"
  std::string unit;     // "" where it is a plain ratio or has no unit
  std::string formula;  // estimator: over what the mean is taken, what is masked
  std::string doc;
  bool always = false;  // in every "iteration" event that trained the policy
};

// A name of TRL's PPO or GRPO trainer and what is ours.
struct TrlName {
  std::string trl, key;
  std::string note = "";  // where the two are not the same figure
};

// In the order of the documentation page.
const std::vector<KeyInfo>& catalog();

// Every figure of TRL that has one here. Names only: nothing is logged twice.
const std::vector<TrlName>& trl_names();

// The entry of a key, exact names before patterns; null if there is none.
const KeyInfo* find_key(const std::string& key);

// Those of `values` that no entry describes, sorted.
std::vector<std::string> unknown_keys(const std::map<std::string, double>& values);

// The page: one Markdown table per first part of the path, and that of TRL's names.
std::string catalog_markdown();

}  // namespace pan::metrics
