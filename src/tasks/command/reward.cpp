#include "tasks/command/reward.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "tasks/command/line_process.h"

namespace pan::tasks {
namespace {

using core::Json;

constexpr size_t kMostTerms = 32;
constexpr size_t kLongestTerm = 60;

std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 120;
  const std::string quoted = core::dump_json(Json(text.substr(0, kLongest)));
  return text.size() > kLongest ? quoted + "..." : quoted;
}

bool is_term_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestTerm && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
  });
}

struct Reply {
  double reward = 0;
  std::map<std::string, double> terms;
  std::optional<bool> correct;
};

// One batch and where it stands, for error messages.
struct Batch {
  int64_t number = 0;
  int64_t first_id = 0;
  size_t size = 0;

  std::string line_name(size_t line) const {
    return "batch " + std::to_string(number) + ", line " + std::to_string(line + 1) + " of its output";
  }
};

class Replies {
 public:
  Replies(const Batch& batch, std::string program) : batch_(batch), program_(std::move(program)) {
    replies_.resize(batch.size);
  }

  void read(size_t line, const std::string& text) {
    Json json;
    try {
      json = core::parse_json(text, "the line");
    } catch (const core::Error& e) {
      fail("the program of reward.command answers something that is not JSON", line, "one JSON object a line",
           shortened(text) + " (" + e.happened() + ")");
    }
    if (!json.is_object())
      fail("the program of reward.command answers something that is no object", line, "{\"reward\": 1.0}",
           shortened(text));
    std::optional<Reply>& slot = slot_of(json, line, text);
    Reply reply;
    reply.reward = number_in(json, "reward", line, text);
    const auto terms = json.find("terms");
    if (terms != json.end() && !terms->is_null()) read_terms(*terms, line, text, reply);
    const auto correct = json.find("correct");
    if (correct != json.end() && !correct->is_null()) {
      if (!correct->is_boolean())
        fail("\"correct\" is not a truth value", line, "true or false", shortened(text));
      reply.correct = correct->get<bool>();
    }
    slot = std::move(reply);
  }

  std::vector<std::optional<Reply>> take() { return std::move(replies_); }
  bool in_order() const { return has_ids_ == false; }

 private:
  [[noreturn]] void fail(const std::string& what, size_t line, const std::string& expected,
                         const std::string& got) const {
    throw core::Error(core::ErrorKind::kData, what)
        .where(program_)
        .pointer(batch_.line_name(line))
        .expected(expected)
        .got(got)
        .remedy("Mend the program; docs/tasks.md says what it is to answer");
  }

  // By id; where the program repeats none, in order.
  std::optional<Reply>& slot_of(const Json& json, size_t line, const std::string& text) {
    const auto id = json.find("id");
    const bool has_id = id != json.end();
    if (!has_ids_) has_ids_ = has_id;
    if (*has_ids_ != has_id)
      fail("some answers of reward.command have an id and some have none", line,
           *has_ids_ ? "an \"id\", as on the lines before" : "no \"id\", as on the lines before",
           shortened(text));
    if (!has_id && line >= batch_.size)
      fail("reward.command answers more often than it was asked", line,
           std::to_string(batch_.size) + " lines for this batch", shortened(text));
    return has_id ? slot_with(*id, line, text) : replies_[line];
  }

  std::optional<Reply>& slot_with(const Json& id, size_t line, const std::string& text) {
    const std::string range = "the \"id\" of a line of this batch, " + std::to_string(batch_.first_id) +
                              " to " +
                              std::to_string(batch_.first_id + static_cast<int64_t>(batch_.size) - 1);
    if (!id.is_number_integer())
      fail("an id of reward.command is not a whole number", line, range + ", or no \"id\" on any line",
           shortened(text));
    const int64_t at = id.get<int64_t>() - batch_.first_id;
    if (at < 0 || at >= static_cast<int64_t>(batch_.size))
      fail("an answer of reward.command has an id that was not asked for", line, range, shortened(text));
    std::optional<Reply>& slot = replies_[static_cast<size_t>(at)];
    if (slot) fail("reward.command answers one id twice", line, "one answer for each id", shortened(text));
    return slot;
  }

  double number_in(const Json& json, const std::string& key, size_t line, const std::string& text) const {
    const auto it = json.find(key);
    const bool good = it != json.end() && it->is_number() && std::isfinite(it->get<double>());
    if (!good)
      fail(it == json.end() ? "an answer of reward.command has no \"" + key + "\""
                            : "\"" + key + "\" of reward.command is not a finite number",
           line, "a finite number under \"" + key + "\"", shortened(text));
    return it->get<double>();
  }

  void read_terms(const Json& terms, size_t line, const std::string& text, Reply& reply) const {
    if (!terms.is_object() || terms.size() > kMostTerms)
      fail("\"terms\" of reward.command cannot be read", line,
           "an object of at most " + std::to_string(kMostTerms) + " numbers by name", shortened(text));
    for (const auto& [name, value] : terms.items()) {
      if (!is_term_name(name))
        fail("a term of reward.command has a name that no metric can have", line,
             "1 to " + std::to_string(kLongestTerm) + " letters, digits, '_', '-' and '.'", shortened(name));
      reply.terms[name] = number_in(terms, name, line, text);
    }
  }

  const Batch& batch_;
  std::string program_;
  std::vector<std::optional<Reply>> replies_;
  std::optional<bool> has_ids_;  // of this batch's lines; unknown before the first
};

class CommandTask : public Task {
 public:
  CommandTask(std::shared_ptr<const Task> task, const RewardConfig& config,
              std::function<bool(const Problem&)> can_judge)
      : task_(std::move(task)),
        config_(config),
        can_judge_(std::move(can_judge)),
        words_(command_of(config)) {
    for (const std::string& word : words_) program_ += (program_.empty() ? "" : " ") + word;
    process_ = std::make_unique<LineProcess>(words_);
  }

  std::string name() const override { return task_->name(); }
  int64_t size(Split split) const override { return task_->size(split); }
  Problem problem(Split split, int64_t index) const override { return task_->problem(split, index); }
  std::vector<std::string> stop_strings() const override { return task_->stop_strings(); }

  Verdict judge(const Problem& problem, const std::string& answer) const override {
    return judge_all({{&problem, &answer}}).front();
  }

  std::vector<Verdict> judge_all(const std::vector<Answer>& answers) const override {
    const std::lock_guard lock(mutex_);
    if (answers.empty()) return {};
    std::vector<Verdict> verdicts = task_->judge_all(answers);
    const Batch batch{++num_batches_, next_id_, answers.size()};
    next_id_ += static_cast<int64_t>(answers.size());
    const std::vector<std::string> lines = ask(batch, input_of(batch, answers));
    std::vector<std::optional<Reply>> replies;
    try {
      Replies reader(batch, program_);
      for (size_t i = 0; i < lines.size(); ++i) reader.read(i, lines[i]);
      in_order_ = reader.in_order();
      replies = reader.take();
    } catch (const core::Error&) {
      end_process();  // what else it has to say belongs to no batch
      throw;
    }
    for (size_t i = 0; i < verdicts.size(); ++i) pay(*answers[i].problem, *replies[i], verdicts[i]);
    return verdicts;
  }

 private:
  static std::string input_of(const Batch& batch, const std::vector<Answer>& answers) {
    std::string input;
    for (size_t i = 0; i < answers.size(); ++i) {
      const Problem& p = *answers[i].problem;
      input += core::dump_json(Json{{"id", batch.first_id + static_cast<int64_t>(i)},
                                    {"prompt", p.prompt},
                                    {"response", *answers[i].text},
                                    {"answer", p.reference},
                                    {"problem", p.id},
                                    {"group", p.group},
                                    {"left", answers.size() - 1 - i}}) +
               "\n";
    }
    return input;
  }

  // A program that crashes or hangs is started once more and gets the whole batch again.
  std::vector<std::string> ask(const Batch& batch, const std::string& input) const {
    for (int attempt = 0;; ++attempt) {
      if (process_ && in_order_) check_silence(batch);
      if (!process_) process_ = std::make_unique<LineProcess>(words_);
      std::vector<std::string> lines;
      const LineProcess::End end = process_->exchange(input, batch.size, config_.timeout_s, lines);
      if (end == LineProcess::End::kDone) return lines;
      if (end == LineProcess::End::kStopped) {
        end_process();
        throw core::Error(core::ErrorKind::kInterrupted, "stopped by a signal while reward.command worked");
      }
      const core::Error error = failure(batch, end, lines.size());
      end_process();
      if (attempt > 0) throw error;
      core::log_warn(std::string(error.what()) + " The program is started again for this batch");
    }
  }

  // Without ids a line too many would be taken for the answer to the next request.
  void check_silence(const Batch& batch) const {
    const std::optional<std::string> unasked = process_->waiting_output();
    if (!unasked) return;
    end_process();
    throw core::Error(core::ErrorKind::kData, "reward.command answers more often than it was asked")
        .where(program_)
        .pointer("before batch " + std::to_string(batch.number))
        .expected("one line for each request, or an \"id\" on every line")
        .got(shortened(*unasked))
        .remedy("Mend the program; docs/tasks.md says what it is to answer");
  }

  void end_process() const {
    process_->kill();
    process_.reset();
  }

  core::Error failure(const Batch& batch, LineProcess::End end, size_t answered) const {
    const bool late = end == LineProcess::End::kTimeout;
    const std::string status = process_->status(late ? 0 : 1), errors = process_->last_errors();
    core::Error error(core::ErrorKind::kData, late ? "the program of reward.command is out of time"
                                                   : "the program of reward.command ended too early");
    error.where(program_)
        .pointer("batch " + std::to_string(batch.number))
        .expected(std::to_string(batch.size) + " lines" +
                  (late ? " within reward.timeout_s = " + core::dump_json(config_.timeout_s) + " s" : ""))
        .got(std::to_string(answered) + " lines, " + status +
             (errors.empty() ? ", nothing on stderr" : "; its last lines on stderr: " + errors))
        .remedy(late ? "Let it write its output out after each line (flush), make it faster, or raise "
                       "reward.timeout_s"
                     : "Run it by hand on a line of input; it has to answer until its input ends");
    return error;
  }

  void pay(const Problem& problem, const Reply& reply, Verdict& v) const {
    v.reward = reply.reward + config_.task_weight * v.reward;
    if (!can_judge_(problem)) v.correct = reply.reward > 0;
    if (reply.correct) v.correct = *reply.correct;
    v.terms["command"] = reply.reward;
    for (const auto& [name, value] : reply.terms) v.terms[name] = value;
  }

  std::shared_ptr<const Task> task_;
  RewardConfig config_;
  std::function<bool(const Problem&)> can_judge_;
  std::vector<std::string> words_;
  std::string program_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<LineProcess> process_;
  mutable int64_t num_batches_ = 0, next_id_ = 0;
  mutable bool in_order_ = false;  // the last batch was answered without ids
};

}  // namespace

std::shared_ptr<const Task> with_command(std::shared_ptr<const Task> task, const RewardConfig& config,
                                         std::function<bool(const Problem&)> can_judge) {
  return std::make_shared<CommandTask>(std::move(task), config, std::move(can_judge));
}

}  // namespace pan::tasks
