#include "machine.hpp"

#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace eetool {
namespace {

std::string stripped(const std::string& text) {
  constexpr std::string_view blank("\0\n\t ", 4);
  const std::size_t first = text.find_first_not_of(blank);
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of(blank) - first + 1);
}

/// Return the value of the first line `key : value`.
std::string field(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon != line.npos && stripped(line.substr(0, colon)) == key) return stripped(line.substr(colon + 1));
  }
  return "";
}

}  // namespace

std::string machine_name(const std::string& root) {
  std::ifstream file(root + "proc/device-tree/model");
  std::string line;
  std::getline(file, line);
  if (const std::string board = stripped(line); !board.empty()) return board;
  const std::string cpus = root + "proc/cpuinfo";
  const std::string name = field(cpus, "model name");
  return name.empty() ? field(cpus, "Hardware") : name;
}

std::int64_t usable_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
  return std::max(1U, std::thread::hardware_concurrency());
}

std::optional<std::int64_t> resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;  // in pages
  if (!(file >> size >> resident)) return std::nullopt;
  return resident * sysconf(_SC_PAGE_SIZE);
}

}  // namespace eetool
