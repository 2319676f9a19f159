// Run the inputs of a fuzzer's corpus once, without the fuzzer: replay FOLDER
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** words) {
  std::size_t inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(count == 2 ? words[1] : ".")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> data(std::istreambuf_iterator<char>(file), {});
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
    ++inputs;
  }
  std::printf("%zu inputs\n", inputs);
  return inputs > 0 ? 0 : 1;
}
