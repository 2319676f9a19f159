// Run one image through a bundle: ee-run BUNDLE IMAGE.ppm [OPERATING_POINT]
//
// The image is a binary PPM or PGM file of the model's size.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "eetool_runtime.hpp"

namespace {

struct Picture {
  int height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> pixels;
};

Picture read_picture(const char* path) {
  std::ifstream file(path, std::ios::binary);
  Picture picture;
  std::string kind;
  int largest = 0;
  file >> kind >> picture.width >> picture.height >> largest;
  file.get();  // the one white space after the header
  if (!file || (kind != "P5" && kind != "P6") || largest != 255) {
    throw std::runtime_error(std::string(path) + " is no binary PGM or PPM file with 256 levels, without comments");
  }
  picture.channels = kind == "P5" ? 1 : 3;
  picture.pixels.assign(std::istreambuf_iterator<char>(file), {});
  return picture;
}

}  // namespace

int main(int count, char** words) {
  if (count < 3 || count > 4) {
    std::fprintf(stderr, "usage: ee-run BUNDLE IMAGE.ppm [OPERATING_POINT]\n");
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
