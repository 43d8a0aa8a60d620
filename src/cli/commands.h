// The subcommands. Each registers its options and leaves a function to run behind.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace pan::cli {

// Set by the subcommand that the command line names; returns the exit code.
using Action = std::function<int()>;

void add_train(CLI::App& app, Action& action);       // train, resume
void add_sft(CLI::App& app, Action& action);         // sft
void add_eval(CLI::App& app, Action& action);        // eval
void add_experiment(CLI::App& app, Action& action);  // experiment
void add_generate(CLI::App& app, Action& action);    // generate
void add_score(CLI::App& app, Action& action);       // score
void add_tokenize(CLI::App& app, Action& action);    // tokenize
void add_tasks(CLI::App& app, Action& action);       // tasks
void add_config(CLI::App& app, Action& action);      // config explain | print

// `pan-ppo resume` of a run that `pan-ppo sft` started: is it one, and going on with it.
bool is_sft_run(const std::string& run_dir);
int resume_sft(const std::string& run_dir, const std::vector<std::string>& set, bool allow_change);

// Several lines: version, git commit, LibTorch, CUDA, cuDNN, instruction set.
std::string version_text();
// Its first line: "pan-ppo 0.1.0 (commit 0123456789ab)".
std::string program_text();

}  // namespace pan::cli
