// Memory of the tensors of a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "manifest.hpp"

namespace eetool {

/// Bytes at an address that vector instructions like.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t size) : data_(new (kAlignment) unsigned char[size]{}), size_(size) {}

  unsigned char* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(unsigned char* data) const { operator delete[](data, kAlignment); }
  };
  std::unique_ptr<unsigned char[], Delete> data_;
  std::size_t size_ = 0;
};

/// One tensor: its type in the manifest, and its current shape and content.
struct TensorBuffer {
  Tensor declared;
  std::vector<std::int64_t> shape;
  AlignedBytes memory;
  std::size_t size_bytes = 0;  // of the content; the memory may be larger

  float* floats() const { return reinterpret_cast<float*>(memory.data()); }

  /// Give the tensor a shape, and more memory where its own is too small.
  void reshape(std::vector<std::int64_t> new_shape, std::size_t new_size_bytes);
};

using TensorBuffers = std::map<std::string, TensorBuffer>;  // by name; entries keep their address

/// Return the bytes of one element; throws a backend error for a type that no manifest has.
std::size_t element_bytes(const std::string& dtype);

/// Return the bytes of a tensor; throws an input error where they are too many to count.
std::size_t total_bytes(const std::string& dtype, const std::vector<std::int64_t>& shape);

/// Return the shape at batch 1; `is_fixed` becomes false where it has a symbol other than `batch`.
std::vector<std::int64_t> fixed_shape(const Tensor& tensor, bool& is_fixed);

/// Return dtype and shape as text.
std::string describe(const std::string& dtype, const std::vector<std::int64_t>& shape);

}  // namespace eetool
