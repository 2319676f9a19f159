// Run one image through a bundle: ee-run BUNDLE IMAGE [OPERATING_POINT]
//
// The image is a binary PPM or PGM file, or raw pixels with their size, as in frame.raw:480x640x3 (height, width,
// channels). Sizes other than the model's need a bundle with a rule of resizing.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "eetool_runtime.hpp"

namespace {

struct Picture {
  int height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;
};

std::vector<std::uint8_t> rest_of(std::ifstream& file) { return {std::istreambuf_iterator<char>(file), {}}; }

/// Read `FILE.raw:HEIGHTxWIDTHxCHANNELS`; the library compares the sizes with the bytes and with the model.
Picture read_raw(const std::string& path, const std::string& size) {
  Picture picture;
  int end = 0;
  const int read = std::sscanf(size.c_str(), "%dx%dx%d%n", &picture.height, &picture.width, &picture.channels, &end);
  if (read != 3 || static_cast<std::size_t>(end) != size.size()) {
    throw std::runtime_error("'" + size + "' is no size of raw pixels such as 480x640x3 (height, width, channels)");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + " cannot be read");
  picture.pixels = rest_of(file);
  return picture;
}

Picture read_picture(const std::string& path) {
  const std::size_t colon = path.rfind(".raw:");
  if (colon != path.npos) return read_raw(path.substr(0, colon + 4), path.substr(colon + 5));
  std::ifstream file(path, std::ios::binary);
  Picture picture;
  std::string kind;
  int largest = 0;
  file >> kind >> picture.width >> picture.height >> largest;
  file.get();  // the one white space after the header
  if (!file || (kind != "P5" && kind != "P6") || largest != 255) {
    throw std::runtime_error(path + " is no binary PGM or PPM file with 256 levels, without comments");
  }
  picture.channels = kind == "P5" ? 1 : 3;
  picture.pixels = rest_of(file);
  return picture;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "usage: ee-run BUNDLE IMAGE.ppm|FILE.raw:HEIGHTxWIDTHxCHANNELS [OPERATING_POINT]\n");
    return 2;
  }
  try {
    const Picture picture = read_picture(words[2]);
    eetool_runtime::Model model(words[1]);
    if (count == 4) model.use(words[3]);
    eetool_runtime::Session session(model);
    session.pixels(picture.pixels, picture.height, picture.width, picture.channels);
    const eetool_runtime::Result result = session.run();
    std::printf("%s  exit %d  confidence %.4f  %.3f ms\n", result.label.c_str(), result.exit, result.confidence,
                result.latency_ms);
    return 0;
  } catch (const eetool_runtime::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    if (!error.hint().empty()) std::fprintf(stderr, "hint: %s\n", error.hint().c_str());
    return error.status() == EE_ERROR_INPUT ? 3 : error.status();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 3;
  }
}
