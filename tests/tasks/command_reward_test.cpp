// Programs are small shell scripts: what a request line must hold and how a program fails is checked from
// outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/signals.h"
#include "pan/task.h"
#include "support/support.h"
#include "tasks/registry.h"
#include "tasks_support.h"

namespace pan {
namespace {

using core::Json;
using tasks::Problem;
using tasks::Split;
using tasks::Verdict;
using ::testing::HasSubstr;

// Every request comes back with a reward: sed -u reads and writes line by line.
const char* const kEcho = R"(sed -u 's/^{/{"reward":0.5,/')";
// Shell functions to take a request apart.
const char* const kShell = R"(id_of() { x=${1#*\"id\":}; id=${x%%,*}; }; )";

class CommandReward : public ::testing::Test {
 protected:
  void SetUp() override { core::set_log_level(core::LogLevel::kError); }
  void TearDown() override {
    core::reset_stop();
    core::set_log_level(core::LogLevel::kInfo);
  }

  std::shared_ptr<const tasks::Task> task(const Json& command, double timeout_s = 20, double task_weight = 0,
                                          const std::string& match = "exact") {
    tasks::TaskConfig config;
    config.name = "jsonl";
    config.jsonl.train_path = folder_ / "t.jsonl";
    if (match == "none") config.jsonl.match = tasks::JsonlConfig::Match::kNone;
    testing::write_text(
        config.jsonl.train_path,
        match == "none"
            ? "{\"prompt\":\"Rhyme.\"}\n"
            : "{\"prompt\":\"Say \\\"hi\\\"\",\"answer\":\"hi\",\"group\":\"g\",\"id\":\"p7\"}\n");
    return tasks::make(config,
                       {.command = command.dump(), .timeout_s = timeout_s, .task_weight = task_weight});
  }

  std::vector<Verdict> judge(const tasks::Task& t, const std::vector<std::string>& texts) {
    const Problem p = t.problem(Split::kTrain, 0);
    std::vector<tasks::Answer> answers;
    for (const std::string& text : texts) answers.push_back({&p, &text});
    return t.judge_all(answers);
  }

  std::string failure(const Json& command, const std::vector<std::string>& texts = {"a", "b"},
                      double timeout_s = 20) {
    try {
      const auto t = task(command, timeout_s);
      judge(*t, texts);
    } catch (const core::Error& e) {
      return std::to_string(static_cast<int>(e.kind())) + " " + e.what();
    }
    return "";
  }

  testing::TempFolder folder_;
};

TEST_F(CommandReward, PaysWhatTheProgramSays) {
  const auto t =
      task(std::string(kShell) + R"(while read -r line; do id_of "$line"; printf '%s\n' "$line" >> )" +
           (folder_ / "seen") +
           R"(; echo "{\"id\":$id,\"reward\":$id.25,\"terms\":{\"style\":-1,\"match\":7}}"; done)");
  const auto v = judge(*t, {"hi", "ho"});
  ASSERT_EQ(v.size(), 2u);
  EXPECT_EQ(v[0].reward, 0.25);
  EXPECT_EQ(v[1].reward, 1.25);
  EXPECT_TRUE(v[0].correct);  // by the task's own match
  EXPECT_FALSE(v[1].correct);
  EXPECT_EQ(v[1].terms, (std::map<std::string, double>{
                            {"command", 1.25}, {"match", 7}, {"no_answer", 0}, {"style", -1}}));
  const auto seen = testing::json_lines(folder_ / "seen");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[1], (Json{{"id", 1},
                           {"prompt", "Say \"hi\""},
                           {"response", "ho"},
                           {"answer", "hi"},
                           {"problem", "p7"},
                           {"group", "g"},
                           {"left", 0}}));
  EXPECT_EQ(seen[0]["left"], 1);
}

TEST_F(CommandReward, TheTasksOwnRewardCanCountToo) {
  const auto t = task(kEcho, 20, 2.0);
  EXPECT_EQ(t->judge(t->problem(Split::kTrain, 0), "hi").reward, 2.5);
  EXPECT_EQ(t->judge(t->problem(Split::kTrain, 0), "no").reward, 0.5);
}

TEST_F(CommandReward, TheProgramCanSayWhatIsRightAndAnswerInAnyOrder) {
  const auto t = task(
      "read -r a; read -r b; echo '{\"id\":1,\"reward\":0,\"correct\":true}';"
      "echo '{\"id\":0,\"reward\":1,\"correct\":false}'; cat > /dev/null");
  const auto v = judge(*t, {"hi", "ho"});
  EXPECT_FALSE(v[0].correct);
  EXPECT_TRUE(v[1].correct);
  EXPECT_EQ(v[0].reward, 1);
}

TEST_F(CommandReward, AnswersWithoutIdsAreThoseOfTheRequestsInOrder) {
  const std::string line = R"(x=${line#*\"response\":\"}; n=${x%%\"*}; echo "{\"reward\":$n,\"terms\":{}}")";
  const auto t = task("while read -r line; do " + line + "; done");
  for (int batch = 0; batch < 3; ++batch) {
    const auto v = judge(*t, {"7", "-2", "0.5"});
    ASSERT_EQ(v.size(), 3u);
    EXPECT_EQ(v[0].reward, 7);
    EXPECT_EQ(v[1].reward, -2);
    EXPECT_EQ(v[2].reward, 0.5);
    EXPECT_EQ(v[2].terms.at("command"), 0.5);
  }
  EXPECT_EQ(judge(*t, {"4"})[0].reward, 4);
}

// A line too many must not be taken for the answer to the next request.
TEST_F(CommandReward, AnswersWithoutIdsAreNeitherMoreNorFewerThanRequests) {
  const std::string twice =
      failure(R"(read -r a; read -r b; printf '{"reward":1}\n{"reward":2}\n{"reward":3}\n'; cat)");
  for (const char* part : {"more often than it was asked", "line 3 of its output", "2 lines for this batch"})
    EXPECT_THAT(twice, HasSubstr(part));
  const std::string mark = folder_ / "late";
  const auto t =
      task("read -r a; echo '{\"reward\":1}'; sleep 0.1; echo '{\"reward\":2}'; touch " + mark + "; cat");
  EXPECT_EQ(judge(*t, {"a"})[0].reward, 1);
  for (int i = 0; i < 500 && !std::filesystem::exists(mark); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_THAT([&] { judge(*t, {"b"}); },
              ::testing::Throws<core::Error>(::testing::Property(
                  &core::Error::what, ::testing::AllOf(HasSubstr("more often than it was asked"),
                                                       HasSubstr("before batch 2"), HasSubstr("reward")))));
  EXPECT_THAT(failure(R"(read -r a; read -r b; echo '{"reward":1}'; cat > /dev/null)", {"a", "b"}, 0.3),
              HasSubstr("got 1 lines"));
}

TEST_F(CommandReward, NeedsNoRightAnswerWithMatchNone) {
  const auto t = task(Json::array({"sed", "-u", R"(s/^{/{"reward":1,/)"}), 20, 0, "none");
  const auto v = judge(*t, {"moon, June", ""});
  EXPECT_TRUE(v[0].correct);
  EXPECT_TRUE(v[0].answered);
  EXPECT_FALSE(v[1].answered);
  EXPECT_THAT(
      [&] { task(Json(nullptr), 20, 0, "none"); },
      ::testing::Throws<core::Error>(::testing::Property(&core::Error::what, HasSubstr("/task/match"))));
}

TEST_F(CommandReward, KeepsTheProgramRunning) {
  const auto t = task(std::string(kShell) +
                      R"(while read -r line; do id_of "$line"; echo "{\"id\":$id,\"reward\":$$}"; done)");
  const double pid = judge(*t, {"a"})[0].reward;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(judge(*t, {"a", "b", "c"})[2].reward, pid);
  EXPECT_TRUE(judge(*t, {}).empty());
}

// Pipes hold 64 KiB: a side that only writes while the other does the same would wait for ever.
TEST_F(CommandReward, LargeBatchesPassInBothDirections) {
  const std::vector<std::string> texts(3000, std::string(1000, 'x') + "\xff\n\"");
  const auto t = task(kEcho);
  for (int i = 0; i < 2; ++i) {
    const auto v = judge(*t, texts);
    ASSERT_EQ(v.size(), texts.size());
    EXPECT_EQ(v.back().reward, 0.5);
  }
  // Much on stderr before anything is read, and all input read before anything is written.
  const auto noisy = task("yes noise | head -c 1000000 >&2; head -n 3000 > " + (folder_ / "all") +
                          R"(; sed 's/^{/{"reward":2,/' )" + (folder_ / "all") + "; cat > /dev/null");
  EXPECT_EQ(judge(*noisy, texts).back().reward, 2);
}

TEST_F(CommandReward, StartsACrashedProgramOnceMore) {
  const std::string mark = folder_ / "mark";
  const auto t = task("if [ ! -e " + mark + " ]; then touch " + mark + "; read -r l; exit 3; fi; " + kEcho);
  EXPECT_EQ(judge(*t, {"a", "b"})[1].reward, 0.5);
  std::filesystem::remove(mark);
  EXPECT_EQ(judge(*t, {"a"})[0].reward, 0.5);  // the second program goes on
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST_F(CommandReward, SaysHowAProgramEnded) {
  const std::string text = failure("read -r l; echo first >&2; printf 'Traceback: oops' >&2; exit 3");
  EXPECT_EQ(text.substr(0, 2), "2 ");
  for (const char* part : {"ended too early", "sh -c", "batch 1", "expected 2 lines", "got 0 lines",
                           "exit status 3", "first | Traceback: oops"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(failure("kill -SEGV $$"), HasSubstr("killed by signal 11"));
  EXPECT_THAT(failure("exec >&-; sleep 5", {"a"}), HasSubstr("still running, nothing on stderr"));
  EXPECT_THAT(failure(std::string("head -n 1 | ") + kEcho), HasSubstr("got 1 lines, exit status 0"));
  // It takes one line of two megabytes and goes: writing on must not end the caller by SIGPIPE.
  const std::vector<std::string> texts(2000, std::string(1000, 'x'));
  EXPECT_THAT(failure("exit 0", texts), HasSubstr("exit status 0"));
}

TEST_F(CommandReward, GivesUpAfterTheTimeLimitAndLeavesNothingRunning) {
  const std::string pids = folder_ / "pids";
  const auto begin = std::chrono::steady_clock::now();
  const std::string text = failure(
      "trap '' TERM HUP; sleep 1000 & echo $! >> " + pids + "; echo $$ >> " + pids + "; wait", {"a"}, 0.3);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_THAT(text, HasSubstr("out of time"));
  EXPECT_THAT(text, HasSubstr("reward.timeout_s = 0.3"));
  EXPECT_THAT(text, HasSubstr("flush"));
  EXPECT_LT(seconds, 15);
  std::istringstream all(testing::read_text(pids));
  int count = 0;
  for (pid_t pid = 0; all >> pid; ++count) {
    for (int i = 0; i < 200 && ::kill(pid, 0) == 0; ++i)  // init collects the orphans in its own time
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string number, name, state = "gone";
    stat >> number >> name >> state;
    EXPECT_TRUE(state == "gone" || state == "Z") << state;
  }
  EXPECT_EQ(count, 4);  // it was started twice
  EXPECT_THAT(failure(R"(sed 's/^{/{"reward":1,/')", {"a"}, 0.3),
              HasSubstr("flush"));  // its output stays in a buffer
}

TEST_F(CommandReward, RefusesAnswersItCannotUse) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"hello", {"not JSON", "\"hello\"", "line 1 of its output"}},
      {R"({"id":0,"reward":NaN})", {"not JSON", "NaN"}},
      {R"({"id":0,"reward":1e999})", {"1e999"}},
      {R"({"id":0,"reward":null})", {"not a finite number"}},
      {R"({"id":0,"reward":"1"})", {"not a finite number"}},
      {R"({"id":0,"score":1})", {"has no \"reward\""}},
      {R"({"reward":1})", {"some have none", "no \"id\", as on the lines before", "line 2"}},
      {R"({"id":0,"reward":1}\n{"reward":1})", {"some have none", "an \"id\", as on", "line 2"}},
      {R"({"id":null,"reward":1})", {"not a whole number", "0 to 1"}},
      {R"({"id":2,"reward":1})", {"was not asked for"}},
      {R"([1])", {"no object"}},
      {R"({"id":0,"reward":1,"terms":[1]})", {"terms"}},
      {R"({"id":0,"reward":1,"terms":{"a/b":1}})", {"a/b"}},
      {R"({"id":0,"reward":1,"terms":{"a":null}})", {"\"a\"", "finite"}},
      {R"({"id":0,"reward":1,"correct":1})", {"truth value"}},
      {R"({"id":0,"reward":1}\n{"id":0,"reward":1})", {"one id twice", "line 2 of its output"}},
      {R"({"id":0,"reward":1}\n{"id":1,"reward":1}\n{"id":1,"reward":1})", {"one id twice", "line 3"}},
  };
  for (const auto& [line, parts] : cases) {
    const std::string text =
        failure("read -r a; read -r b; printf '" + line + "\\n{\"id\":1,\"reward\":1}\\n'; cat");
    EXPECT_EQ(text.substr(0, 2), "2 ") << line << ": " << text;
    for (const std::string& part : parts) EXPECT_THAT(text, HasSubstr(part)) << line;
    EXPECT_THAT(text, HasSubstr("batch 1")) << line;
  }
}

TEST_F(CommandReward, RefusesWhatIsNoProgram) {
  EXPECT_THAT(failure(Json::array({"/no/such/program"})), HasSubstr("/reward/command"));
  EXPECT_THAT(failure(Json::array({"/no/such/program"})), HasSubstr("No such file"));
  for (const Json& command :
       {Json::array(), Json(3), Json::array({1}), Json::array({""}), Json(""), Json::object()}) {
    const std::string text = failure(command);
    EXPECT_EQ(text.substr(0, 2), "1 ") << command << text;
    EXPECT_THAT(text, HasSubstr("/reward/command"));
  }
}

TEST_F(CommandReward, AStopSignalDoesNotWaitForTheProgram) {
  const auto t = task("sleep 1000");
  std::thread signal([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    core::request_stop();
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT([&] { judge(*t, {"a"}); }, ::testing::Throws<core::Error>(::testing::Property(
                                             &core::Error::kind, core::ErrorKind::kInterrupted)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  signal.join();
}

TEST_F(CommandReward, TheExampleProgramScoresAnswers) {
  if (std::system("python3 -c '' > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no python3";
  const auto t = task(Json::array({"python3", testing::source_path("docs/examples/reward_command.py")}));
  const auto v = judge(*t, {"hi", "well, hi", "no", ""});
  EXPECT_EQ(v[0].terms.at("exact"), 1);
  EXPECT_EQ(v[1].terms.at("exact"), 0);
  EXPECT_EQ(v[1].terms.at("contains"), 1);
  EXPECT_GT(v[0].reward, v[1].reward);
  EXPECT_GT(v[1].reward, v[2].reward);
}

}  // namespace
}  // namespace pan
