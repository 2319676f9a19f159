#include "model_input.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "error.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr std::size_t kPixelValues = 256;
constexpr const char* kNoWords = "This input takes ids of words. This library does not split texts; the app gives ids.";

/// Copy floats and return whether all are finite: an exponent of ones alone means NaN or infinity.
bool copy_finite(float* to, const void* from, std::size_t count) {
  constexpr std::uint32_t exponent = 0x7f800000;
  const auto* bytes = static_cast<const unsigned char*>(from);
  std::memcpy(to, bytes, count * sizeof(float));
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, to + i, sizeof(bits));
    found |= (bits & exponent) == exponent ? 1U : 0U;
  }
  return found == 0;
}

bool is_boolean(const unsigned char* data, std::size_t count) {
  unsigned char all = 0;
  for (std::size_t i = 0; i < count; ++i) all = static_cast<unsigned char>(all | data[i]);
  return all <= 1;
}

/// Return the float of every channel and pixel value, computed in float32 as in training.
std::vector<float> pixel_table(const Preprocess& rule) {
  std::vector<float> values;
  values.reserve(rule.mean.size() * kPixelValues);
  for (std::size_t c = 0; c < rule.mean.size(); ++c) {
    const auto scale = static_cast<float>(rule.scale), mean = static_cast<float>(rule.mean[c]);
    const auto std = static_cast<float>(rule.std[c]);
    for (std::size_t pixel = 0; pixel < kPixelValues; ++pixel) {
      const float scaled = static_cast<float>(pixel) * scale;  // a product of its own: not fused with the subtraction
      values.push_back((scaled - mean) / std);
    }
  }
  return values;
}

std::int64_t size_of(const Dimension& dimension) { return std::get<std::int64_t>(dimension); }

std::string describe_image(std::int64_t height, std::int64_t width, std::int64_t channels) {
  return "uint8 (" + std::to_string(height) + ", " + std::to_string(width) + ", " + std::to_string(channels) + ")";
}

}  // namespace

ModelInput::ModelInput(const Input& spec, TensorBuffer& buffer) : spec_(spec), buffer_(buffer) {
  fixed_shape(spec.tensor, is_fixed_);
  if (spec.preprocess) values_ = pixel_table(*spec.preprocess);
  for (const float value : values_) values_are_finite_ &= std::isfinite(value);
}

void ModelInput::refuse(const std::string& reason, const std::string& hint) const {
  throw input_error("input " + in_quotes(spec_.name) + ": " + reason, hint);
}

std::size_t ModelInput::take_shape(const GivenTensor& tensor) {
  if (tensor.shape == nullptr) {
    if (is_fixed_) return buffer_.size_bytes;
    refuse(describe(spec_.tensor) + " needs a shape, because its sizes differ by call");
  }
  const auto& declared = spec_.tensor.shape;
  bool matches = tensor.rank == declared.size() && tensor.shape[0] == 1;
  for (std::size_t i = 0; matches && i < declared.size(); ++i) {
    const auto* size = std::get_if<std::int64_t>(&declared[i]);
    matches = size != nullptr ? tensor.shape[i] == *size : tensor.shape[i] > 0;
  }
  if (!matches) {
    const std::size_t shown = std::min<std::size_t>(tensor.rank, 8);
    refuse("expected shape " + describe(spec_.tensor) + ", found " +
           describe(spec_.tensor.dtype, {tensor.shape, tensor.shape + shown}));
  }
  if (is_fixed_) return buffer_.size_bytes;
  std::vector<std::int64_t> shape(tensor.shape, tensor.shape + tensor.rank);
  const std::size_t needed_bytes = total_bytes(spec_.tensor.dtype, shape);
  if (tensor.size_bytes == needed_bytes) buffer_.reshape(std::move(shape), needed_bytes);
  return needed_bytes;
}

void ModelInput::set(const GivenTensor& tensor) {
  unset();
  if (tensor.dtype != spec_.tensor.dtype) {
    refuse("expected " + spec_.tensor.dtype + ", found " + std::string(tensor.dtype),
           spec_.text               ? kNoWords
           : tensor.dtype == "uint8" ? "ee_session_pixels converts uint8 pixels to the model's input."
                                     : "");
  }
  const std::size_t needed_bytes = take_shape(tensor);
  if (tensor.data == nullptr || tensor.size_bytes != needed_bytes) {
    refuse("expected " + std::to_string(needed_bytes) + " bytes for " + describe(spec_.tensor) + ", found " +
           (tensor.data == nullptr ? "NULL" : std::to_string(tensor.size_bytes) + " bytes"));
  }
  if (tensor.dtype == "float32") {
    if (!copy_finite(buffer_.floats(), tensor.data, needed_bytes / sizeof(float))) {
      refuse("holds NaN or infinite values");
    }
  } else {
    std::memcpy(buffer_.memory.data(), tensor.data, needed_bytes);
    if (tensor.dtype == "bool" && !is_boolean(buffer_.memory.data(), needed_bytes)) {
      refuse("holds bytes other than 0 and 1");
    }
  }
  is_given_ = true;
}

void ModelInput::set(const GivenImage& image) {
  unset();
  write(checked_picture(image));
  is_given_ = true;
}

void ModelInput::set_later(const GivenImage& image) {
  unset();
  waiting_ = checked_picture(image);
  is_given_ = true;
}

void ModelInput::make_waiting() {
  write(*waiting_);
  waiting_.reset();
}

bool ModelInput::has_own_form(std::int64_t height, std::int64_t width, std::int64_t channels) const {
  const auto& shape = spec_.tensor.shape;
  return height == size_of(shape[2]) && width == size_of(shape[3]) && channels == size_of(shape[1]);
}

std::int64_t ModelInput::opaque_channels(std::int64_t channels) const {
  const bool has_alpha = channels != size_of(spec_.tensor.shape[1]) && channels % 2 == 0;
  return channels - (has_alpha ? 1 : 0);
}

Picture ModelInput::checked_picture(const GivenImage& image) const {
  if (!spec_.preprocess) {
    refuse("the bundle holds no preprocessing; give a finished " + describe(spec_.tensor), spec_.text ? kNoWords : "");
  }
  const bool fits = has_own_form(image.height, image.width, image.channels);
  if (!fits) check_resizable(image);
  const Picture picture = pixels_of(image);
  if (!values_are_finite_) refuse("the preprocessing of the bundle gives NaN or infinite values");
  if (!fits && opaque_channels(image.channels) != image.channels && !is_opaque(picture)) {
    refuse("has transparent pixels, and nothing says what lies behind them",
           "Put it on the background that was there in training.");
  }
  return picture;
}

void ModelInput::write(const Picture& picture) {
  if (has_own_form(picture.height, picture.width, picture.channels)) {
    normalise(picture);
    return;
  }
  const auto& shape = spec_.tensor.shape;
  const std::int64_t channels = size_of(shape[1]), height = size_of(shape[2]), width = size_of(shape[3]);
  const std::int64_t used = opaque_channels(picture.channels);
  const std::vector<std::uint8_t> fitted =
      with_channels(resize(picture, height, width, used, spec_.preprocess->resize->fit), used, channels);
  normalise(Picture{fitted.data(), height, width, channels, static_cast<std::size_t>(width * channels)});
}

void ModelInput::check_resizable(const GivenImage& image) const {
  const auto& shape = spec_.tensor.shape;
  const std::int64_t channels = size_of(shape[1]), height = size_of(shape[2]), width = size_of(shape[3]);
  const bool is_picture = channels == 1 || channels == 3;
  const bool known = is_picture ? image.channels >= 1 && image.channels <= 4 : image.channels == channels;
  if (spec_.preprocess->resize && known && image.height > 0 && image.width > 0) return;
  const std::string expected = spec_.preprocess->resize ? "uint8 of any size" : describe_image(height, width, channels);
  refuse("expected raw pixels " + expected + ", found " + describe_image(image.height, image.width, image.channels),
         !known || (image.channels != channels && !spec_.preprocess->resize)
             ? "Convert grey, colour or transparency first."
             : spec_.preprocess->resize ? "The image has no pixels." : "This bundle has no rule of resizing.");
}

Picture ModelInput::pixels_of(const GivenImage& image) const {
  const auto rows = static_cast<std::size_t>(image.height);
  const std::size_t row_pixels = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.channels);
  const std::size_t row_bytes = image.row_bytes == 0 ? row_pixels : image.row_bytes;
  std::size_t needed_bytes = 0;
  const bool too_many = __builtin_mul_overflow(row_bytes, rows - 1, &needed_bytes) ||
                        __builtin_add_overflow(needed_bytes, row_pixels, &needed_bytes);
  if (image.pixels == nullptr || row_bytes < row_pixels || too_many || image.size_bytes < needed_bytes) {
    refuse("expected " + std::to_string(needed_bytes) + " bytes of pixels, in rows of at least " +
           std::to_string(row_pixels) + ", found " +
           (image.pixels == nullptr ? "NULL" : std::to_string(image.size_bytes) + " bytes"));
  }
  return {image.pixels, image.height, image.width, image.channels, row_bytes};
}

void ModelInput::normalise(const Picture& picture) {
  const auto rows = static_cast<std::size_t>(picture.height), columns = static_cast<std::size_t>(picture.width);
  const auto depth = static_cast<std::size_t>(picture.channels);
  float* out = buffer_.floats();
  for (std::size_t c = 0; c < depth; ++c) {
    const float* values = values_.data() + c * kPixelValues;
    for (std::size_t y = 0; y < rows; ++y) {
      const std::uint8_t* pixel = picture.pixels + y * picture.row_bytes + c;
      for (std::size_t x = 0; x < columns; ++x) *out++ = values[pixel[x * depth]];
    }
  }
}

void check_symbols(const std::vector<ModelInput>& inputs, const TensorBuffers& tensors) {
  std::map<std::string, std::pair<std::int64_t, std::string>> seen;
  for (const ModelInput& input : inputs) {
    const auto& declared = input.spec().tensor.shape;
    const auto& actual = tensors.at(input.spec().name).shape;
    for (std::size_t i = 0; i < declared.size(); ++i) {
      const auto* symbol = std::get_if<std::string>(&declared[i]);
      if (symbol == nullptr) continue;
      const auto& [size, first] = seen.insert({*symbol, {actual[i], input.spec().name}}).first->second;
      if (size != actual[i]) {
        throw input_error("input " + in_quotes(input.spec().name) + ": " + in_quotes(*symbol) + " is " +
                          std::to_string(actual[i]) + " here and " + std::to_string(size) + " in input " +
                          in_quotes(first));
      }
    }
  }
}

}  // namespace eetool
