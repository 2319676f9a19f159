#include <doctest/doctest.h>

#include "eetool_runtime.hpp"
#include "scripted_model.hpp"

TEST_CASE("the wrapper throws what the library refuses") {
  try {
    eetool_runtime::Model model("/no/model.eebundle");
    CHECK(false);
  } catch (const eetool_runtime::Error& error) {
    CHECK(error.status() == EE_ERROR_BUNDLE);
    CHECK(std::string(error.what()) == "/no/model.eebundle: does not exist");
    CHECK(error.hint() == "A bundle is a directory NAME.eebundle made by `eetool export`.");
  }
}

TEST_CASE("a bundle that no engine runs is refused") {
  const eetool::test::TemporaryFolder folder;
  const std::string path = eetool::test::write_bundle(folder.path);
  CHECK_THROWS_WITH(eetool_runtime::Model(path.c_str()), "no backend runs 'fake' graphs");
  CHECK_THROWS_WITH(eetool_runtime::Model(path, ee_model_options{}), "no backend runs 'fake' graphs");
}

TEST_CASE("functions that cannot fail take NULL") {
  ee_error_free(nullptr);
  ee_model_close(nullptr);
  ee_session_free(nullptr);
  ee_free(nullptr);
  CHECK(ee_error_message(nullptr) == nullptr);
  CHECK(ee_error_hint(nullptr) == nullptr);
  CHECK(ee_error_code(nullptr) == EE_OK);
  CHECK(ee_abi_version() == 0x10000);
  CHECK(ee_session_run(nullptr, nullptr, nullptr, nullptr) == EE_ERROR_USAGE);
}

TEST_CASE("an address that is no object is refused") {
  int no_model = 0;
  char* text = nullptr;
  CHECK(ee_model_stats_json(reinterpret_cast<ee_model*>(&no_model), &text, nullptr) == EE_ERROR_USAGE);
}
