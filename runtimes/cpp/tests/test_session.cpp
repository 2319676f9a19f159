#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "counted_allocations.hpp"
#include "error.hpp"
#include "json.hpp"
#include "scripted_model.hpp"
#include "session.hpp"

using namespace eetool;
using namespace eetool::test;

namespace {

Prediction run(Session& session, float value, std::optional<double> deadline_ms = std::nullopt, int min_exit = 0) {
  session.input(nullptr).set(GivenTensor{"float32", nullptr, 0, &value, sizeof(value)});
  return session.run({deadline_ms, min_exit});
}

/// Return a session with measured latencies of twenty calls under a long deadline.
std::unique_ptr<Session> taught(ScriptedModel& scripted, float value = 2) {
  auto session = std::make_unique<Session>(scripted.model);
  for (int i = 0; i < 20; ++i) run(*session, value, 1000);
  return session;
}

}  // namespace

TEST_CASE("an input leaves at the first exit that is confident") {
  ScriptedModel scripted;
  Session session(scripted.model);
  for (int exit = 0; exit < 3; ++exit) {
    const Prediction p = run(session, static_cast<float>(exit));
    CHECK(p.exit == exit);
    CHECK(p.confidence == doctest::Approx(0.9));
    CHECK(p.macs == static_cast<std::uint64_t>(1'010'000 * (exit + 1)));
    CHECK(p.logits[1] == 1 + static_cast<float>(exit));
    CHECK(p.class_index(2) == 1);
  }
  CHECK(run(session, 9).exit == 2);  // never confident
  scripted.model->use("full", std::nullopt);
  const Prediction p = run(session, 0);
  CHECK(p.exit == 2);
  CHECK(p.macs == 3'010'000);  // skipped exits cost nothing
  CHECK(run(session, 0, std::nullopt, 1).exit == 2);
}

TEST_CASE("a threshold equal to the confidence fires, and NaN does not") {
  ScriptedModel scripted;
  Session session(scripted.model);
  scripted.model->use(Thresholds{double{0.9F}, 2.0}, std::nullopt);
  CHECK(run(session, 0).exit == 0);
  scripted.model->use(Thresholds{std::nextafter(double{0.9F}, 1.0), 2.0}, std::nullopt);
  CHECK(run(session, 0).exit == 2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(run(session, nan), Error);
}

TEST_CASE("a minimum exit is respected, and negative ones count from the end") {
  ScriptedModel scripted;
  Session session(scripted.model);
  CHECK(run(session, 0, std::nullopt, 1).exit == 1);
  CHECK(run(session, 0, std::nullopt, -1).exit == 2);
  CHECK(run(session, 0, std::nullopt, -3).exit == 0);
  CHECK_THROWS_WITH(run(session, 0, std::nullopt, 3), "min_exit is 3; this model has the exits 0 to 2");
}

TEST_CASE("a confidence in the band of the watchdog goes to full depth") {
  ScriptedModel scripted;
  Session session(scripted.model);
  scripted.model->use("balanced", Band{0.85, 0.95});
  const Prediction p = run(session, 0);
  CHECK(p.exit == 2);
  CHECK(p.macs == 3'020'000);  // exit 1 is not computed on the way
  scripted.model->use("balanced", Band{0.1, 0.5});
  CHECK(run(session, 0).exit == 0);
}

TEST_CASE("a deadline leaves at the deepest exit in time") {
  struct Row {
    double deadline_ms;
    int exit;
    bool gated;
  };
  for (const Row row :
       {Row{0.001, 0, false}, {7.99, 0, false}, {8, 1, false}, {12.99, 1, false}, {13, 2, true}, {100, 2, true}}) {
    ScriptedModel scripted(kTimes);
    const Prediction p = run(*taught(scripted), 2, row.deadline_ms);
    CHECK(p.exit == row.exit);
    CHECK(p.gated == row.gated);
  }
}

TEST_CASE("without measurements, latencies are scaled by MACs") {
  ScriptedModel scripted(kTimes);
  Session session(scripted.model);
  CHECK(run(session, 2, 7.0).exit == 0);  // after 3 ms for 1.01 million MACs, as many again are guessed at 4.5 ms
  ScriptedModel other(kTimes);
  Session fresh(other.model);
  CHECK(run(fresh, 2, 8.0).exit == 1);
}

TEST_CASE("statistics count ungated calls and overruns") {
  ScriptedModel scripted(kTimes);
  const auto session = taught(scripted);
  for (const double deadline_ms : {1.0, 9.0, 9.0, 100.0}) run(*session, 2, deadline_ms);
  const JsonValue stats = parse_json(scripted.model->stats_json(), "stats");
  const auto& members = stats.as<JsonObject>()->members;
  CHECK(*find(members, "calls")->as<std::int64_t>() == 24);
  CHECK(*find(members, "ungated")->as<std::int64_t>() == 3);
  CHECK(*find(members, "overruns")->as<std::int64_t>() == 1);  // the first exit takes 3 ms, whatever the deadline
  const auto& latency = find(members, "latency_ms")->as<JsonObject>()->members;
  CHECK(*find(latency, "p50")->as<double>() == 13.0);
}

TEST_CASE("a call allocates nothing after the first") {
  ScriptedModel scripted;
  Session session(scripted.model);
  for (const float value : {0.0F, 2.0F}) run(session, value);
  const std::size_t before = allocations();
  for (int i = 0; i < 20'000; ++i) run(session, static_cast<float>(i % 3));
  CHECK(allocations() == before);
}

TEST_CASE("an input that is refused is unset") {
  ScriptedModel scripted;
  Session session(scripted.model);
  CHECK_THROWS_WITH(session.run({}), "input 'input' is not set, or its last value was refused");
  run(session, 0);
  CHECK_THROWS_AS(run(session, std::numeric_limits<float>::infinity()), Error);
  CHECK_THROWS_WITH(session.run({}), "input 'input' is not set, or its last value was refused");
}

TEST_CASE("a later view of a picture is made by the call that reaches its component") {
  ScriptedModel scripted({}, true, true);
  Session session(scripted.model);
  std::vector<std::uint8_t> pixels(6 * 4, 0);  // 4 rows of 4 pixels, and 2 bytes between rows
  const GivenImage image{pixels.data(), pixels.size(), 4, 4, 1, 6};
  const auto set = [&] { session.set_picture(session.inputs_of_picture(nullptr), image); };
  set();
  ModelInput& view = session.input("view");
  CHECK(view.is_given());
  CHECK_FALSE(view.is_made());
  CHECK(session.run({}).exit == 0);
  CHECK_FALSE(view.is_made());
  CHECK(session.run({1000.0, 0}).exit == 0);
  CHECK_FALSE(view.is_made());
  CHECK(session.run({std::nullopt, 1}).exit == 1);
  CHECK(view.is_made());

  std::fill(pixels.begin(), pixels.end(), 2);
  set();
  CHECK_FALSE(view.is_made());
  std::fill(pixels.begin(), pixels.end(), 9);  // the session has a copy
  CHECK(session.run({}).exit == 2);
  CHECK(view.is_made());
  view.make();
  CHECK(session.run({}).exit == 2);

  const float own[] = {1, 1, 1, 1};
  set();
  view.set(GivenTensor{"float32", nullptr, 0, own, sizeof(own)});
  CHECK(view.is_made());
  const GivenImage none{pixels.data(), pixels.size(), 0, 4, 1, 0};
  CHECK_THROWS_WITH(view.set_later(none), "input 'view': expected raw pixels uint8 of any size, found uint8 (0, 4, 1)");
  CHECK_FALSE(view.is_given());
  CHECK(view.is_made());
}

TEST_CASE("a view that is made later is the one that is made at once") {
  ScriptedModel scripted({}, true, true);
  Session session(scripted.model);
  std::vector<std::uint8_t> pixels(3 * 5 * 4, 255);
  for (std::size_t i = 0; i < pixels.size(); i += 4) pixels[i] = static_cast<std::uint8_t>(7 * i);
  const GivenImage image{pixels.data(), pixels.size(), 3, 5, 4, 0};
  const std::vector<ModelInput*> views = session.inputs_of_picture(nullptr);
  REQUIRE(views.size() == 2);
  Session other(scripted.model);
  other.input("view").set(image);
  session.set_picture(views, image);
  views[1]->make();
  CHECK(session.values("view") == other.values("view"));
}

TEST_CASE("sessions of many threads share a model while the operating point changes") {
  ScriptedModel scripted({}, false);
  std::atomic<int> wrong{0};
  const auto work = [&] {
    Session session(scripted.model);
    for (int i = 0; i < 2'000; ++i) {
      const int exit = run(session, static_cast<float>(i % 3)).exit;
      wrong += exit == i % 3 || exit == 2 ? 0 : 1;
      if (i % 100 == 0) run(session, 1, 1000.0);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (int i = 0; i < 200; ++i) {
    scripted.model->use(i % 2 == 0 ? "full" : "balanced", std::nullopt);
    scripted.model->stats_json();
    scripted.model->prometheus_text();
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  const JsonValue stats = parse_json(scripted.model->stats_json(), "stats");
  std::int64_t calls = 0;
  for (const auto& [name, point] :
       find(stats.as<JsonObject>()->members, "operating_points")->as<JsonObject>()->members) {
    calls += *find(point.as<JsonObject>()->members, "calls")->as<std::int64_t>();
  }
  CHECK(calls == 4 * 2'020);
}
