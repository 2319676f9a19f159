// Load a bundle and answer once, at full depth, for benchmarks/runtime/overhead.py:
//
//   first-answer BUNDLE VARIANT THREADS INPUT=FILE...
//
// FILE holds samples of a float32 input as raw bytes, of which the first is used. Prints the milliseconds of loading, and
// the resident bytes after the answer.
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>

#include "eetool_runtime.hpp"

namespace {

long resident_bytes() {
  long total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::vector<float> read_floats(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  const auto* begin = reinterpret_cast<const float*>(bytes.data());
  return {begin, begin + bytes.size() / sizeof(float)};
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count < 5) throw std::runtime_error("usage: first-answer BUNDLE VARIANT THREADS INPUT=FILE...");
    ee_model_options options{};
    options.variant = words[2];
    options.threads = std::stoi(words[3]);
    const auto start = std::chrono::steady_clock::now();
    const eetool_runtime::Model model(words[1], options);
    const std::chrono::duration<double, std::milli> load = std::chrono::steady_clock::now() - start;
    eetool_runtime::Session session(model);
    for (int i = 4; i < count; ++i) {
      const std::string word = words[i];
      const std::size_t equals = word.find('=');
      session.input(read_floats(word.substr(equals + 1)), word.substr(0, equals).c_str());
    }
    session.run(0, -1);
    std::cout << "[" << load.count() << ", " << resident_bytes() << "]\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
