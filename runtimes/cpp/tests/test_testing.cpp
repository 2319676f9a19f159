#include "eetool_testing.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "eetool_runtime.hpp"

namespace {

using eetool_runtime::Model;
using eetool_runtime::Result;
using eetool_runtime::Session;

constexpr std::size_t kAnswer = sizeof(ee_testing_answer);

Model scripted(const std::vector<ee_testing_answer>& answers, ee_testing_script script = {}) {
  script.struct_size = sizeof(script);
  script.answers = answers.data();
  script.answer_count = answers.size();
  ee_model* made = nullptr;
  ee_error* error = nullptr;
  eetool_runtime::check(ee_testing_model(&script, &made, &error), error);
  return Model(made);
}

/// Return a session whose input is set to black pixels.
Session session_of(const Model& model) {
  Session session(model);
  session.pixels(std::vector<std::uint8_t>(32 * 32 * 3), 32, 32, 3);
  return session;
}

}  // namespace

TEST_CASE("scripted answers come in turn, each with its exit, logits and time") {
  const Model model = scripted({{kAnswer, "cat", 0, 0.95, 2}, {kAnswer, "dog", 2, 0.5, 3}, {kAnswer, "cat", 1, 0.8, 0}});
  Session session = session_of(model);
  for (int round = 0; round < 2; ++round) {
    const Result first = session.run(), second = session.run(), third = session.run();
    CHECK((first.label == "cat" && first.exit == 0 && first.latency_ms == 2));
    CHECK((second.label == "dog" && second.exit == 2 && second.latency_ms == 9));
    CHECK(second.logits == std::vector<float>{0, 5});
    CHECK(second.confidence == doctest::Approx(0.5));
    CHECK((third.label == "cat" && third.exit == 1 && third.latency_ms == 0));
  }
  CHECK(model.stats_json().find("\"calls\": 6") != std::string::npos);
  CHECK(model.info_json().find("scripted") != std::string::npos);
}

TEST_CASE("operating points and thresholds are those of the model") {
  Model model = scripted({{kAnswer, "cat", 1, 0.7, 0}});
  Session session = session_of(model);
  CHECK(session.run().exit == 2);
  model.use("fast");
  CHECK(session.run().exit == 1);
  model.use(std::vector<double>{0, 0});
  CHECK(session.run().exit == 0);
  model.use("full");
  CHECK(session.run().exit == 2);
}

TEST_CASE("a deadline ends a call by the scripted time") {
  const Model model = scripted({{kAnswer, "cat", 2, 0.9, 4}});
  Session session = session_of(model);
  const Result cut = session.run(7), late = session.run(3), whole = session.run(100);
  CHECK((cut.exit == 0 && !cut.gated && !cut.late && cut.latency_ms == 4));
  CHECK((late.exit == 0 && late.late));
  CHECK((whole.exit == 2 && whole.gated && !whole.late && whole.latency_ms == 12));
}

TEST_CASE("calls of several threads share the answers, and not the time") {
  const Model model = scripted({{kAnswer, "cat", 0, 0.9, 1}, {kAnswer, "dog", 0, 0.9, 1}});
  std::atomic<int> cats{0}, late{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Session session = session_of(model);
      for (int call = 0; call < 100; ++call) {
        const Result result = session.run(1);
        cats += result.label == "cat" ? 1 : 0;
        late += result.late ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(cats == 200);
  CHECK(late == 0);
}

TEST_CASE("labels, exits and the shape of the input can be chosen") {
  const char* labels[] = {"up", "down"};
  const std::int64_t shape[] = {4};
  ee_testing_script script{};
  script.labels = labels, script.label_count = 2, script.input_shape = shape, script.input_rank = 1;
  script.early_exits = 1;
  const Model model = scripted({{kAnswer, "down", 1, 0.5, 0}}, script);
  Session session(model);
  session.input(std::vector<float>(4));
  const Result result = session.run();
  CHECK((result.exit == 1 && result.label_index == 1));
  CHECK_THROWS(session.pixels(std::vector<std::uint8_t>(4), 2, 2, 1));
}

TEST_CASE("answers of an older header lie closer together") {
  struct Older {
    std::size_t struct_size;
    const char* label;
    std::int32_t exit;
    double confidence;
  };
  const Older answers[] = {{sizeof(Older), "cat", 0, 0.9}, {sizeof(Older), "dog", 1, 0.9}};
  ee_testing_script script{};
  script.struct_size = sizeof(script);
  script.answers = reinterpret_cast<const ee_testing_answer*>(answers), script.answer_count = 2;
  ee_model* made = nullptr;
  REQUIRE(ee_testing_model(&script, &made, nullptr) == EE_OK);
  const Model model(made);
  Session session = session_of(model);
  CHECK(session.run().label == "cat");
  CHECK(session.run().exit == 1);
}

TEST_CASE("scripts that make no model are refused") {
  const auto refused = [](const std::vector<ee_testing_answer>& answers, const char* message,
                          ee_testing_script script = {}) {
    try {
      scripted(answers, script);
      FAIL("was taken");
    } catch (const eetool_runtime::Error& error) {
      CHECK(error.status() == EE_ERROR_USAGE);
      CHECK_MESSAGE(std::string(error.what()).find(message) == 0, error.what());
    }
  };
  refused({}, "the script is empty");
  refused({{0, "cat", 0, 0.9, 0}}, "ee_testing_answer: struct_size is not set");
  refused({{kAnswer + 1, "cat", 0, 0.9, 0}}, "ee_testing_answer: struct_size is 41");
  refused({{kAnswer, "cat", 0, 0.9, 0}, {8, "cat", 0, 0.9, 0}}, "ee_testing_answer: struct_size of answer 1 is not");
  refused({{kAnswer, nullptr, 0, 0.9, 0}}, "ee_testing_answer: label is NULL");
  refused({{kAnswer, "", 0, 0.9, 0}}, "ee_testing_script: '': 1 to 256 characters are needed");
  refused({{kAnswer, "cat", 3, 0.9, 0}}, "the script has exit 3; the last one is 2");
  refused({{kAnswer, "cat", -1, 0.9, 0}}, "the script has exit -1");
  refused({{kAnswer, "cat", 0, 1.5, 0}}, "confidence must be 0 to 1, not 1.5");
  refused({{kAnswer, "cat", 0, std::nan(""), 0}}, "confidence must be 0 to 1");
  refused({{kAnswer, "cat", 0, 0.9, -1}}, "section_ms must be 0 to 1e9, not -1");
  const std::vector<ee_testing_answer> fine = {{kAnswer, "cat", 0, 0.9, 0}};
  ee_testing_script script{};
  script.early_exits = 101;
  refused(fine, "early_exits must be 1 to 100, not 101", script);
  script = {};
  const char* labels[] = {"dog"};
  script.labels = labels, script.label_count = 1;
  refused(fine, "the script has 'cat'; the labels are dog", script);
  script = {};
  const std::int64_t shape[] = {3, 0, 4};
  script.input_shape = shape;
  refused(fine, "ee_testing_script: input_rank is 0", script);
  script.input_rank = 3;
  refused(fine, "ee_testing_script: inputs.input.shape: 0 is no dimension", script);
  CHECK(ee_testing_model(nullptr, nullptr, nullptr) == EE_ERROR_USAGE);
}
