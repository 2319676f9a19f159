#include <doctest/doctest.h>

#include "error.hpp"
#include "json.hpp"

using namespace eetool;

namespace {

std::string refusal(const std::string& text) {
  try {
    parse_json(text, "x.json");
  } catch (const Error& error) {
    CHECK(error.status() == Status::bundle);
    return error.message();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("JSON that the format allows is read as it is") {
  const JsonValue value = parse_json(R"({"b": [1, -2, 0.5, 1e3, true, null], "a": {"t": "\u00e9\n"}})", "x.json");
  const auto& members = value.as<JsonObject>()->members;
  CHECK(members[0].first == "b");  // in the order of the text
  const JsonList& list = *members[0].second.as<JsonList>();
  CHECK(*list[1].as<std::int64_t>() == -2);
  CHECK(*list[3].as<double>() == 1000.0);
  CHECK(list[3].as<std::int64_t>() == nullptr);
  CHECK(*members[1].second.as<JsonObject>()->members[0].second.as<std::string>() == "\xc3\xa9\n");
  CHECK(*parse_json("999999999999999999", "x").as<std::int64_t>() == 999999999999999999);
}

TEST_CASE("what the parser would accept and the format refuses is refused") {
  CHECK(refusal("\xef\xbb\xbf{}") == "x.json: it begins with a byte order mark");
  CHECK(refusal(R"({"a": 1, "b": {"a": 1}, "a": 2})") == "x.json: the key 'a' occurs twice in one object");
  CHECK(refusal(R"({"a": 1, "\u0061": 2})") == "x.json: the key 'a' occurs twice in one object");
  CHECK(refusal("1000000000000000000") == "x.json: the integer 100000000000000000… is too long");
  CHECK(refusal("-1000000000000000000") == "x.json: the integer -10000000000000000… is too long");
  CHECK(refusal("18446744073709551615") == "x.json: the integer 184467440737095516… is too long");
  CHECK(refusal(std::string(500'000, '9')) == "x.json: the number '" + std::string(59, '9') + "…' is too large");
  CHECK(refusal("[1e999]") == "x.json: the number '1e999' is too large");
  CHECK(refusal(std::string("{}\0garbage", 10)) == "x.json: it is not valid JSON: it holds a null byte");
  CHECK(refusal(std::string(65, '[') + std::string(65, ']')) == "x.json: it is nested too deeply");
  CHECK(refusal(std::string(64, '[') + std::string(64, ']')) == "accepted");
  CHECK(refusal(std::string(500'000, '[')) == "x.json: it is nested too deeply");
  for (const std::string text : {"", "{", "[1,]", "{} {}", "NaN", "Infinity", "01", "1.", "'a'", "\"\xff\"", "\"\x01\"",
                                 "// a\n1", R"("\ud800")"}) {
    CHECK(refusal(text).substr(0, 28) == "x.json: it is not valid JSON");
  }
}
