#include <doctest/doctest.h>

#include "json_writer.hpp"
#include "sha256.hpp"
#include "text.hpp"

using namespace eetool;

TEST_CASE("names, paths and variants follow the rules of the format") {
  CHECK(is_name("a"));
  CHECK(is_name("Res_net-8.x"));
  CHECK(is_name(std::string(128, 'x')));
  for (const std::string bad : {"", ".a", "-a", "a b", "a/b", "\xc3\xa9", "a\n"}) CHECK_FALSE(is_name(bad));
  CHECK_FALSE(is_name(std::string(129, 'x')));
  CHECK(is_path("components/seg0/onnx-fp32/model.onnx"));
  for (const std::string bad : {"", "/a", "a/", "a//b", "../a", "a/./b", "a\\b", ".ssh/x", "C:/x"})
    CHECK_FALSE(is_path(bad));
  CHECK_FALSE(is_path(std::string(241, 'x')));
  CHECK(is_variant("onnx/int8-qdq-2"));
  for (const std::string bad : {"onnx", "/fp32", "onnx/", "onnx/-a", "onnx/a-", "onnx/a--b", "ONNX/fp32", "a/b/c"}) {
    CHECK_FALSE(is_variant(bad));
  }
}

TEST_CASE("texts are 1 to 256 characters of UTF-8 without control characters") {
  std::string many;
  for (int i = 0; i < 256; ++i) many += "\xe2\x82\xac";
  CHECK(is_text(many));
  CHECK_FALSE(is_text(many + "x"));
  for (const std::string bad :
       {"", "a\x1b[2J", "a\x7f", "\xc2\x85", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
    CHECK_FALSE(is_text(bad));
  }
}

TEST_CASE("messages are printable") {
  CHECK(in_quotes("a\x1b[2J\xc3\xa9") == "'a\\x1b[2J\\xc3\\xa9'");
  CHECK(in_quotes(std::string(100'000, 'x')).size() < 70);
  CHECK(printable("caf\xc3\xa9\n\x1b\xff") == "caf\xc3\xa9 ??");
  CHECK(number_text(0.8) == "0.8");
  CHECK(number_text(1e300) == "1e+300");
  CHECK(float_text(1) == "1.0");
  CHECK(float_text(-1e21) == "-1e+21");
}

TEST_CASE("JSON is written with escapes, and null for numbers that it does not have") {
  JsonWriter json;
  json.begin_object();
  json.member("a\"\n", std::vector<std::optional<double>>{0.1, std::nullopt, 1.0 / 0.0});
  json.member("n", 3);
  json.key("x");
  json.begin_list();
  json.end_list();
  json.member("text", "\\\x01");
  json.end_object();
  CHECK(json.take() == R"({"a\"\u000a": [0.1, null, null], "n": 3, "x": [], "text": "\\\u0001"})");
}

TEST_CASE("SHA-256 gives the digests of FIPS 180-4's examples") {
  Sha256Compress compress = nullptr;
  SUBCASE("in portable code") { compress = compress_portable; }
  SUBCASE("with the processor's own instructions") { compress = processor_compress(); }
  if (compress == nullptr) return;  // it has none
  const auto digest = [compress](const std::string& text, std::size_t part) {
    Sha256 sha(compress);
    for (std::size_t at = 0; at < text.size(); at += part)
      sha.update(text.data() + at, std::min(part, text.size() - at));
    return sha.hex_digest();
  };
  CHECK(digest("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest("abc", 1) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 7) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const std::string million(1'000'000, 'a');
  for (const std::size_t part : {1UL << 20, 63UL, 64UL, 65UL}) {
    CHECK(digest(million, part) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
  CHECK(Sha256().hex_digest() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
