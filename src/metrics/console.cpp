#include "metrics/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/log.h"

namespace pan::metrics {
namespace {

using Values = std::map<std::string, double>;

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), pattern, value);
  return text;
}

// Three significant digits without an exponent where that is readable.
std::string short_number(double v) {
  const double size = std::abs(v);
  if (!std::isfinite(v)) return "nan";
  if (v == 0) return "0";
  if (size >= 1e6 || size < 1e-4) return format("%.2g", v);
  return format(size >= 100    ? "%.0f"
                : size >= 10   ? "%.1f"
                : size >= 0.1  ? "%.2f"
                : size >= 0.01 ? "%.3f"
                               : "%.4f",
                v);
}

std::string percent(double v) {
  return !std::isfinite(v) ? "nan" : format(v != 0 && v < 0.1 ? "%.1f %%" : "%.0f %%", 100 * v);
}

std::optional<double> find(const Values& values, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (const auto it = values.find(key); it != values.end()) return it->second;
  }
  return std::nullopt;
}

std::string joined(const std::vector<std::string>& parts, const char* separator) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : separator) + part;
  return out;
}

std::string reward_part(const Values& values) {
  const auto task = find(values, {"critic/score/mean"}), rhythm = find(values, {"rhythm/paid/mean"});
  auto total = find(values, {"reward/total/mean"});
  if (!total && task) total = *task + rhythm.value_or(0);
  if (!total) return "";
  std::string text = "reward " + short_number(*total);
  if (task && rhythm) {
    text += " (task " + short_number(*task) + ", rhythm " + (*rhythm >= 0 ? "+" : "") +
            short_number(*rhythm) + ")";
  }
  return text;
}

std::string length_part(const Values& values) {
  const auto length = find(values, {"response_length/mean"}),
             cut = find(values, {"response_length/clip_ratio"});
  if (!length) return "";
  return "length " + format("%.0f", *length) + (cut ? " (" + percent(*cut) + " cut)" : "");
}

std::string value_part(const Values& values) {
  const auto loss = find(values, {"critic/vf_loss"}), explained = find(values, {"critic/vf_explained_var"});
  if (!loss) return "";
  return "value loss " + short_number(*loss) +
         (explained ? " (explained " + short_number(*explained) + ")" : "");
}

std::string time_part(const Values& values) {
  std::vector<std::string> parts;
  for (const auto& [key, name] :
       {std::pair{"timing_s/gen", "sample"}, std::pair{"timing_s/score", "score"},
        std::pair{"timing_s/update", "update"}, std::pair{"timing_s/testing", "eval"},
        std::pair{"timing_s/save_checkpoint", "save"}}) {
    if (const auto seconds = find(values, {key}))
      parts.push_back(std::string(name) + " " + duration_text(*seconds));
  }
  return joined(parts, ", ");
}

constexpr double kRedrawSeconds = 0.1;
constexpr double kPlainSeconds = 30;

}  // namespace

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 9.95) return format("%.1f s", seconds);
  const auto s = static_cast<int64_t>(std::llround(seconds));
  char text[64];
  if (s < 60) {
    std::snprintf(text, sizeof(text), "%d s", static_cast<int>(s));
  } else if (s < 3600) {
    std::snprintf(text, sizeof(text), "%d min %02d s", static_cast<int>(s / 60), static_cast<int>(s % 60));
  } else if (s < 86400) {
    std::snprintf(text, sizeof(text), "%d h %02d min", static_cast<int>(s / 3600),
                  static_cast<int>(s % 3600 / 60));
  } else {
    std::snprintf(text, sizeof(text), "%lld d %d h", static_cast<long long>(s / 86400),
                  static_cast<int>(s % 86400 / 3600));
  }
  return text;
}

std::string iteration_line(const IterationFacts& facts, const Values& values) {
  std::vector<std::string> parts;
  const auto add = [&](const std::string& text) {
    if (!text.empty()) parts.push_back(text);
  };
  add("iteration " + std::to_string(facts.iteration) +
      (facts.total > 0 ? "/" + std::to_string(facts.total) : ""));
  add(reward_part(values));
  if (const auto x = find(values, {"reward/accuracy"})) add("accuracy " + percent(*x));
  if (const auto x = find(values, {"eval/accuracy"})) add("eval accuracy " + percent(*x));
  add(length_part(values));
  if (const auto x = find(values, {"actor/reward_kl_penalty", "critic/kl", "actor/kl_loss"}))
    add("KL " + short_number(*x));
  if (const auto x = find(values, {"actor/pg_clipfrac"})) add("clip " + percent(*x));
  add(value_part(values));
  add(time_part(values));
  if (const auto x = find(values, {"perf/throughput"})) add(format("%.0f token/s", *x));
  if (facts.eta_s >= 0) add(duration_text(facts.eta_s) + " left");
  return joined(parts, " | ");
}

struct Progress::State {
  std::string label, unit;
  int64_t total = 0, done = 0;
  std::string note;
  Terminal terminal;
  double started_s = 0, last_s = 0;
  bool drawn = false;

  std::string left() const {
    const double spent = terminal.now_s() - started_s;
    if (done <= 0 || total <= done) return "";
    return ", " + duration_text(spent * static_cast<double>(total - done) / static_cast<double>(done)) +
           " left";
  }
  std::string figures() const {
    return std::to_string(done) + "/" + std::to_string(total) + " " + unit + left() +
           (note.empty() ? "" : ", " + note);
  }
  void draw() {
    constexpr int kBarWidth = 24;
    const double share =
        total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 1.0;
    const auto filled = static_cast<size_t>(share * kBarWidth);
    std::string text =
        label + " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " + figures();
    const auto room =
        static_cast<size_t>(std::max(20, terminal.columns() - 1));  // a wrapped line could not be cleared
    if (text.size() > room) text.resize(room);
    terminal.write("\r\x1b[K" + text);
    drawn = true;
  }
  void clear() {
    if (drawn) terminal.write("\r\x1b[K");
    drawn = false;
  }
};

// The bars that are open on a terminal, innermost last. The log calls the hooks with its own mutex held, so
// nothing here may log while it holds this one.
struct Bars {
  std::mutex mutex;
  std::vector<std::shared_ptr<Progress::State>> open;

  static Bars& get() {
    static Bars* bars = new Bars;  // never destroyed: log lines may come from exit handlers
    return *bars;
  }
  static void before_line() {
    std::lock_guard lock(get().mutex);
    if (!get().open.empty()) get().open.back()->clear();
  }
  static void after_line() {
    std::lock_guard lock(get().mutex);
    if (!get().open.empty()) get().open.back()->draw();
  }
};

Progress::Progress(const std::string& label, int64_t total, const std::string& unit, Terminal terminal)
    : state_(std::make_shared<State>()) {
  state_->label = label;
  state_->unit = unit;
  state_->total = total;
  state_->terminal = std::move(terminal);
  state_->started_s = state_->last_s = state_->terminal.now_s();
  if (!state_->terminal.is_tty) return;
  Bars& bars = Bars::get();
  {
    std::lock_guard lock(bars.mutex);
    if (!bars.open.empty()) bars.open.back()->clear();
    bars.open.push_back(state_);
    state_->draw();
  }
  core::set_log_hooks(Bars::before_line, Bars::after_line);
}

Progress::~Progress() {
  if (!state_->terminal.is_tty) return;
  Bars& bars = Bars::get();
  bool last = false;
  {
    std::lock_guard lock(bars.mutex);
    state_->clear();
    std::erase(bars.open, state_);
    last = bars.open.empty();
    if (!last) bars.open.back()->draw();
  }
  if (last) core::set_log_hooks(nullptr, nullptr);
}

void Progress::update(int64_t done, const std::string& note) {
  State& s = *state_;
  const double now = s.terminal.now_s();
  if (s.terminal.is_tty) {
    std::lock_guard lock(Bars::get().mutex);
    s.done = done;
    s.note = note;
    if (now - s.last_s < kRedrawSeconds || Bars::get().open.back() != state_) return;
    s.last_s = now;
    s.draw();
    return;
  }
  s.done = done;
  s.note = note;
  if (now - s.last_s < kPlainSeconds) return;
  s.last_s = now;
  s.terminal.line(s.label + ": " + s.figures());
}

Terminal stderr_terminal() {
  Terminal t;
  const char* kind = std::getenv("TERM");
  t.is_tty = isatty(STDERR_FILENO) != 0 && kind != nullptr && std::string(kind) != "dumb";
  t.write = [](const std::string& bytes) {
    std::fwrite(bytes.data(), 1, bytes.size(), stderr);
    std::fflush(stderr);
  };
  t.line = [](const std::string& line) { core::log_info(line); };
  t.now_s = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  t.columns = [] {
    struct winsize size {};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? int{size.ws_col} : 80;
  };
  return t;
}

}  // namespace pan::metrics
