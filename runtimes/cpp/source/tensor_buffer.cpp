#include "tensor_buffer.hpp"

#include "error.hpp"
#include "text.hpp"

namespace eetool {

void TensorBuffer::reshape(std::vector<std::int64_t> new_shape, std::size_t new_size_bytes) {
  if (new_size_bytes > memory.size()) memory = AlignedBytes(new_size_bytes);
  shape = std::move(new_shape);
  size_bytes = new_size_bytes;
}

std::size_t element_bytes(const std::string& dtype) {
  if (dtype == "float32" || dtype == "int32") return 4;
  if (dtype == "int64") return 8;
  if (dtype == "uint8" || dtype == "int8" || dtype == "bool") return 1;
  throw backend_error("tensors of the type " + in_quotes(dtype) + " are not supported");
}

std::size_t total_bytes(const std::string& dtype, const std::vector<std::int64_t>& shape) {
  std::size_t total = element_bytes(dtype);
  for (const std::int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(total, static_cast<std::size_t>(size), &total)) {
      throw input_error(describe(dtype, shape) + " is no possible size of a tensor");
    }
  }
  return total;
}

std::vector<std::int64_t> fixed_shape(const Tensor& tensor, bool& is_fixed) {
  std::vector<std::int64_t> shape;
  is_fixed = true;
  for (const Dimension& dimension : tensor.shape) {
    const auto* size = std::get_if<std::int64_t>(&dimension);
    is_fixed &= size != nullptr || std::get<std::string>(dimension) == kBatch;
    shape.push_back(size != nullptr ? *size : 1);
  }
  return shape;
}

std::string describe(const std::string& dtype, const std::vector<std::int64_t>& shape) {
  return describe(Tensor{dtype, std::vector<Dimension>(shape.begin(), shape.end())});
}

}  // namespace eetool
