#include "engines/litert_graph.hpp"

#include "error.hpp"
#include "text.hpp"

namespace eetool::litert {
namespace {

struct ElementType {
  int number;
  const char* dtype;
};

constexpr ElementType kElementTypes[] = {{1, "float32"}, {2, "int32"}, {3, "uint8"},
                                         {4, "int64"},   {6, "bool"},  {9, "int8"}};

std::string element_name(int number) {
  for (const ElementType& type : kElementTypes) {
    if (number == type.number) return type.dtype;
  }
  return "element type " + std::to_string(number);
}

int element_number(const std::string& dtype) {
  for (const ElementType& type : kElementTypes) {
    if (dtype == type.dtype) return type.number;
  }
  throw backend_error("LiteRT is not used with tensors of the type " + in_quotes(dtype));
}

/// Tensors of a call as the library sees them: memory of ours that it reads and writes.
class WrappedTensors {
 public:
  WrappedTensors(std::shared_ptr<const Library> library, const std::string& failure)
      : library_(std::move(library)), failure_(failure) {}

  void wrap(const Named<eetool::Tensor>& names, TensorBuffers& tensors) {
    for (const auto& entry : names) wrap(tensors.at(entry.first));
  }

  std::vector<TensorBuffer*>& pointers() { return pointers_; }

 private:
  void wrap(eetool::TensorBuffer& tensor) {
    TensorType type{};
    type.element_type = element_number(tensor.declared.dtype);
    type.layout.rank = static_cast<unsigned int>(tensor.shape.size()) & 0x7f;
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      type.layout.dimensions[i] = static_cast<std::int32_t>(tensor.shape[i]);  // as the graph declares: 32 bits
    }
    TensorBuffer* made = nullptr;
    library_->check(
        library_->api().wrap_memory(&type, tensor.memory.data(), tensor.memory.size(), nullptr, &made), failure_);
    owned_.emplace_back(made, Freeing<TensorBuffer>{library_->api().destroy_buffer.function});
    pointers_.push_back(made);
  }

  std::shared_ptr<const Library> library_;
  const std::string& failure_;
  std::vector<Owned<TensorBuffer>> owned_;
  std::vector<TensorBuffer*> pointers_;
};

/// A graph with tensors that were wrapped once, so that a call allocates and copies nothing.
class BoundLitertCall : public BoundCall {
 public:
  BoundLitertCall(CompiledFile& file, std::size_t signature, WrappedTensors inputs, WrappedTensors outputs)
      : file_(file), signature_(signature), inputs_(std::move(inputs)), outputs_(std::move(outputs)) {}

  void run() override { file_.run(signature_, inputs_.pointers(), outputs_.pointers()); }

 private:
  CompiledFile& file_;
  std::size_t signature_;
  WrappedTensors inputs_, outputs_;
};

}  // namespace

CompiledFile::CompiledFile(std::shared_ptr<const Library> library, const std::string& path,
                           std::unique_ptr<AlignedBytes> bytes, Owned<Model> model, Owned<CompiledModel> compiled,
                           Threads threads)
    : library_(std::move(library)),
      loading_failure_(path + ": LiteRT " + library_->version() + " cannot load this graph"),
      running_failure_(path + ": LiteRT could not run this graph"),
      bytes_(std::move(bytes)),
      model_(std::move(model)),
      compiled_(std::move(compiled)),
      threads_(threads) {}

std::size_t CompiledFile::signature_count() const {
  std::size_t count = 0;
  library_->check(library_->api().signature_count(model_.get(), &count), loading_failure_);
  return count;
}

Signature* CompiledFile::signature(std::size_t index) const {
  Signature* signature = nullptr;
  library_->check(library_->api().signature(model_.get(), index, &signature), loading_failure_);
  return signature;
}

std::string CompiledFile::signature_key(std::size_t index) const {
  const char* key = nullptr;
  library_->check(library_->api().signature_key(signature(index), &key), loading_failure_);
  return key == nullptr ? "" : key;
}

void CompiledFile::run(std::size_t signature, std::vector<TensorBuffer*>& inputs,
                       std::vector<TensorBuffer*>& outputs) {
  const std::lock_guard lock(mutex_);
  library_->check(library_->api().run(compiled_.get(), signature, inputs.size(), inputs.data(), outputs.size(),
                                      outputs.data()),
                  running_failure_);
}

LitertGraph::LitertGraph(std::shared_ptr<CompiledFile> file, std::size_t signature)
    : file_(std::move(file)), signature_(signature), inputs_(describe_side(true)), outputs_(describe_side(false)) {}

Named<eetool::Tensor> LitertGraph::describe_side(bool is_input) const {
  const Library& library = *file_->library();
  const Api& api = library.api();
  const std::string& failure = file_->loading_failure();
  Signature* const signature = file_->signature(signature_);
  std::size_t count = 0;
  library.check(is_input ? api.input_count(signature, &count) : api.output_count(signature, &count), failure);
  Named<eetool::Tensor> tensors;
  for (std::size_t i = 0; i < count; ++i) {
    const char* name = nullptr;
    Tensor* tensor = nullptr;
    TensorType type{};
    library.check(is_input ? api.input_name(signature, i, &name) : api.output_name(signature, i, &name), failure);
    library.check(is_input ? api.input_tensor(signature, i, &tensor) : api.output_tensor(signature, i, &tensor),
                    failure);
    library.check(api.tensor_type(tensor, &type), failure);
    eetool::Tensor described{element_name(type.element_type), {}};
    for (unsigned int d = 0; d < type.layout.rank && d < kMaxRank; ++d) {
      const std::int32_t size = type.layout.dimensions[d];
      described.shape.push_back(size >= 0 ? Dimension(std::int64_t{size}) : Dimension("any"));
    }
    tensors.emplace_back(name, std::move(described));
  }
  return tensors;
}

std::unique_ptr<BoundCall> LitertGraph::bind(TensorBuffers& tensors) {
  WrappedTensors inputs(file_->library(), file_->running_failure());
  WrappedTensors outputs(file_->library(), file_->running_failure());
  inputs.wrap(inputs_, tensors);
  outputs.wrap(outputs_, tensors);
  return std::make_unique<BoundLitertCall>(*file_, signature_, std::move(inputs), std::move(outputs));
}

void LitertGraph::run(TensorBuffers& tensors) { bind(tensors)->run(); }

}  // namespace eetool::litert
