#include "engines/onnxruntime_graph.hpp"

#include <cstring>

#include "error.hpp"
#include "text.hpp"

namespace eetool::ort {
namespace {

constexpr std::size_t kMaxRank = 64;

struct ElementType {
  int number;
  const char* dtype;
};

constexpr ElementType kElementTypes[] = {{1, "float32"}, {2, "uint8"}, {3, "int8"},
                                         {6, "int32"},   {7, "int64"}, {9, "bool"}};

int element_number(const std::string& dtype) {
  for (const ElementType& type : kElementTypes) {
    if (dtype == type.dtype) return type.number;
  }
  throw backend_error("onnxruntime is not used with tensors of the type " + in_quotes(dtype));
}

std::string element_name(int number) {
  for (const ElementType& type : kElementTypes) {
    if (number == type.number) return type.dtype;
  }
  return "element type " + std::to_string(number);
}

/// A graph whose inputs and outputs are bound to addresses once, so that a call passes no names and copies nothing.
class BoundOnnxCall : public BoundCall {
 public:
  BoundOnnxCall(std::shared_ptr<const Library> library, const std::string& failure, Session* session,
                const RunOptions* options)
      : library_(std::move(library)), failure_(failure), session_(session), options_(options), binding_(nullptr, {}) {
    const Api& api = library_->api();
    IoBinding* binding = nullptr;
    library_->check(api.create_binding(session, &binding), failure_);
    binding_ = Owned<IoBinding>(binding, {api.release_binding.function});
  }

  void bind(bool is_input, const std::string& name, Owned<Value> value) {
    const Api& api = library_->api();
    library_->check(is_input ? api.bind_input(binding_.get(), name.c_str(), value.get())
                             : api.bind_output(binding_.get(), name.c_str(), value.get()),
                    failure_);
    values_.push_back(std::move(value));
  }

  void run() override {
    library_->check(library_->api().run_with_binding(session_, options_, binding_.get()), failure_);
  }

 private:
  std::shared_ptr<const Library> library_;
  const std::string& failure_;
  Session* session_;
  const RunOptions* options_;
  std::vector<Owned<Value>> values_;
  Owned<IoBinding> binding_;
};

}  // namespace

OnnxGraph::OnnxGraph(std::shared_ptr<const Library> library, std::string path, Owned<Session> session, Threads threads)
    : library_(std::move(library)),
      failure_(path + ": onnxruntime could not run this graph"),
      memory_(nullptr, {library_->api().release_memory_info.function}),
      session_(std::move(session)),
      run_options_(nullptr, {library_->api().release_run_options.function}),
      threads_(threads) {
  const Api& api = library_->api();
  MemoryInfo* memory = nullptr;
  library_->check(api.create_memory_info(kDeviceAllocator, kDefaultMemory, &memory), failure_);
  memory_.reset(memory);
  RunOptions* options = nullptr;
  library_->check(api.create_run_options(&options), failure_);
  run_options_.reset(options);
  inputs_ = describe_side(true);
  outputs_ = describe_side(false);
}

Named<Tensor> OnnxGraph::describe_side(bool is_input) const {
  const Api& api = library_->api();
  Allocator* allocator = nullptr;
  library_->check(api.default_allocator(&allocator), failure_);
  std::size_t count = 0;
  const Session* session = session_.get();
  library_->check(is_input ? api.input_count(session, &count) : api.output_count(session, &count), failure_);
  Named<Tensor> tensors;
  for (std::size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    library_->check(
        is_input ? api.input_name(session, i, allocator, &name) : api.output_name(session, i, allocator, &name),
        failure_);
    tensors.emplace_back(name, Tensor{});
    library_->check(api.free(allocator, name), failure_);
    TypeInfo* type = nullptr;
    library_->check(is_input ? api.input_type(session, i, &type) : api.output_type(session, i, &type), failure_);
    const Owned<TypeInfo> freed(type, {api.release_type_info.function});
    tensors.back().second = describe_type(type);
  }
  return tensors;
}

Tensor OnnxGraph::describe_type(const TypeInfo* type) const {
  const Api& api = library_->api();
  const TensorInfo* info = nullptr;  // belongs to `type`
  library_->check(api.tensor_info(type, &info), failure_);
  if (info == nullptr) return Tensor{"no tensor", {}};
  int number = 0;
  std::size_t rank = 0;
  library_->check(api.element_type(info, &number), failure_);
  library_->check(api.rank(info, &rank), failure_);
  std::vector<std::int64_t> sizes(rank);
  std::vector<const char*> symbols(rank);
  library_->check(api.sizes(info, sizes.data(), rank), failure_);
  library_->check(api.symbols(info, symbols.data(), rank), failure_);
  Tensor tensor{element_name(number), {}};
  for (std::size_t i = 0; i < rank; ++i) {
    const bool is_named = symbols[i] != nullptr && *symbols[i] != '\0';
    tensor.shape.push_back(sizes[i] >= 0 ? Dimension(sizes[i]) : Dimension(is_named ? symbols[i] : "any"));
  }
  return tensor;
}

Owned<Value> OnnxGraph::wrap(const TensorBuffer& tensor) const {
  const Api& api = library_->api();
  Value* value = nullptr;
  library_->check(api.create_tensor(memory_.get(), tensor.memory.data(), tensor.size_bytes, tensor.shape.data(),
                                    tensor.shape.size(), element_number(tensor.declared.dtype), &value),
                  failure_);
  return Owned<Value>(value, {api.release_value.function});
}

std::unique_ptr<BoundCall> OnnxGraph::bind(TensorBuffers& tensors) {
  auto call = std::make_unique<BoundOnnxCall>(library_, failure_, session_.get(), run_options_.get());
  for (const auto& entry : inputs_) call->bind(true, entry.first, wrap(tensors.at(entry.first)));
  for (const auto& entry : outputs_) call->bind(false, entry.first, wrap(tensors.at(entry.first)));
  return call;
}

void OnnxGraph::run(TensorBuffers& tensors) {
  const Api& api = library_->api();
  std::vector<const char*> input_names, output_names;
  std::vector<Owned<Value>> kept;
  std::vector<const Value*> given;
  for (const auto& entry : inputs_) {
    input_names.push_back(entry.first.c_str());
    kept.push_back(wrap(tensors.at(entry.first)));
    given.push_back(kept.back().get());
  }
  for (const auto& entry : outputs_) output_names.push_back(entry.first.c_str());
  std::vector<Value*> made(outputs_.size());
  library_->check(api.run(session_.get(), run_options_.get(), input_names.data(), given.data(), given.size(),
                          output_names.data(), output_names.size(), made.data()),
                  failure_);
  for (Value* value : made) kept.emplace_back(value, Freeing<Value>{api.release_value.function});
  for (std::size_t i = 0; i < made.size(); ++i) copy_output(made[i], tensors.at(outputs_[i].first));
}

void OnnxGraph::copy_output(Value* value, TensorBuffer& tensor) const {
  const Api& api = library_->api();
  TensorInfo* info = nullptr;
  library_->check(api.value_info(value, &info), failure_);
  const Owned<TensorInfo> freed(info, {api.release_tensor_info.function});
  std::size_t rank = 0;
  void* data = nullptr;
  library_->check(api.rank(info, &rank), failure_);
  if (rank > kMaxRank) throw backend_error(failure_ + ": an output has " + std::to_string(rank) + " dimensions");
  std::vector<std::int64_t> sizes(rank);
  library_->check(api.sizes(info, sizes.data(), rank), failure_);
  library_->check(api.tensor_data(value, &data), failure_);
  const std::size_t size_bytes = total_bytes(tensor.declared.dtype, sizes);
  tensor.reshape(std::move(sizes), size_bytes);
  if (size_bytes > 0) std::memcpy(tensor.memory.data(), data, size_bytes);
}

}  // namespace eetool::ort
