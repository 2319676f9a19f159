// Inputs of a model: checks of finished tensors, and conversion of images.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"
#include "resize.hpp"
#include "tensor_buffer.hpp"

namespace eetool {

/// A finished tensor as it comes from the caller. Without a shape, the one in the manifest counts, at batch 1.
struct GivenTensor {
  std::string_view dtype;
  const std::int64_t* shape = nullptr;
  std::size_t rank = 0;
  const void* data = nullptr;
  std::size_t size_bytes = 0;
};

/// Raw pixels uint8 (height, width, channels) with `row_bytes` from one row to the next.
struct GivenImage {
  const std::uint8_t* pixels = nullptr;
  std::size_t size_bytes = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::size_t row_bytes = 0;
};

/// One input: its rules, and its tensor in a session.
class ModelInput {
 public:
  ModelInput(const Input& spec, TensorBuffer& buffer);

  const Input& spec() const { return spec_; }

  /// True once a value was accepted; a refused one makes it false again.
  bool is_given() const { return is_given_; }

  /// True where the tensor holds the value; false where it is made of a picture when `make` is called.
  bool is_made() const { return !waiting_; }

  void unset() {
    is_given_ = false;
    waiting_.reset();
  }

  /// Check a finished tensor and copy it; throws an input error.
  void set(const GivenTensor& tensor);

  /// Check an image, resize it where it has another size, and normalise it, by the rules of the bundle; throws an input
  /// error.
  void set(const GivenImage& image);

  /// Check an image, and leave it to `make` to read it: its pixels stay until then. Throws an input error.
  void set_later(const GivenImage& image);

  /// Make the tensor of the image of `set_later`, if it is not made yet.
  void make() {
    if (waiting_) make_waiting();
  }

 private:
  [[noreturn]] void refuse(const std::string& reason, const std::string& hint = {}) const;

  /// Return the bytes that a finished tensor must have, and give the buffer its shape.
  std::size_t take_shape(const GivenTensor& tensor);

  /// Throw an input error unless an image of another size or other channels can be brought to the model's.
  void check_resizable(const GivenImage& image) const;

  /// Return the pixels of an image that the tensor can be made of; throws an input error.
  Picture checked_picture(const GivenImage& image) const;

  /// Return the pixels of an image; throws an input error where the memory is too small.
  Picture pixels_of(const GivenImage& image) const;

  /// True where a picture has the size and the channels of the model.
  bool has_own_form(std::int64_t height, std::int64_t width, std::int64_t channels) const;

  /// Return the channels of a picture without its alpha channel.
  std::int64_t opaque_channels(std::int64_t channels) const;

  void make_waiting();

  /// Write a checked picture to the buffer, resized where it has another size.
  void write(const Picture& picture);

  /// Write a picture of the model's size to the buffer, by mean and deviation.
  void normalise(const Picture& picture);

  const Input& spec_;
  TensorBuffer& buffer_;
  bool is_fixed_ = false;
  std::vector<float> values_;  // of each channel and pixel value, where the input is made from an image
  bool values_are_finite_ = true;
  bool is_given_ = false;
  std::optional<Picture> waiting_;  // not made yet
};

/// Throw an input error where a symbol of the shapes, such as `tokens`, has two sizes.
void check_symbols(const std::vector<ModelInput>& inputs, const TensorBuffers& tensors);

}  // namespace eetool
