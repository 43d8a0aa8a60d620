#include "train/verl_names.h"

namespace pan::train {

std::map<std::string, double> verl_names(const std::string& task, int64_t samples,
                                         const std::map<std::string, double>& figures) {
  const std::string k = std::to_string(samples), mean = "/mean@" + k, accuracy = "accuracy/";
  std::map<std::string, double> out;
  const auto put = [&](const std::string& figure, const std::string& name) {
    if (const auto found = figures.find(figure); found != figures.end()) out[name] = found->second;
  };
  put("accuracy", "val-core/" + task + "/acc" + mean);
  put("pass@" + k, "val-core/" + task + "/acc/best@" + k + "/mean");
  put("maj@" + k, "val-core/" + task + "/acc/maj@" + k + "/mean");
  for (const auto& [key, value] : figures) {
    const std::string rest = key.substr(key.find('/') + 1);
    if (rest.find('/') != std::string::npos) continue;  // a size of a task
    if (key.rfind("score/", 0) == 0) out["val-aux/" + task + "/" + rest + mean] = value;
    if (task == "mix" && key.rfind(accuracy, 0) == 0) out["val-core/" + rest + "/acc" + mean] = value;
  }
  return out;
}

}  // namespace pan::train
