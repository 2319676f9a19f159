#include "side_files.hpp"

#include <cstring>
#include <stdexcept>
#include <vector>

#include "error.hpp"
#include "flatbuffer.hpp"
#include "protobuf.hpp"

namespace eetool {
namespace {

enum class Message { model, training, function, graph, node, attribute, sparse_tensor, tensor, other };

struct Step {
  Message from;
  std::uint32_t field;
  Message to;
};

// Fields of onnx.proto that lead to tensors, which can refer to files.
constexpr Step kSteps[] = {
    {Message::model, 7, Message::graph},
    {Message::model, 20, Message::training},
    {Message::model, 25, Message::function},
    {Message::training, 1, Message::graph},
    {Message::training, 2, Message::graph},
    {Message::function, 7, Message::node},
    {Message::function, 11, Message::attribute},
    {Message::graph, 1, Message::node},
    {Message::graph, 5, Message::tensor},
    {Message::graph, 15, Message::sparse_tensor},
    {Message::node, 5, Message::attribute},
    {Message::attribute, 5, Message::tensor},
    {Message::attribute, 10, Message::tensor},
    {Message::attribute, 6, Message::graph},
    {Message::attribute, 11, Message::graph},
    {Message::attribute, 22, Message::sparse_tensor},
    {Message::attribute, 23, Message::sparse_tensor},
    {Message::sparse_tensor, 1, Message::tensor},
    {Message::sparse_tensor, 2, Message::tensor},
};
constexpr std::uint32_t kExternalData = 13, kDataLocation = 14;  // fields of a tensor
constexpr int kMaxNesting = 64;
constexpr int kMaxFields = 1 << 22;  // more fields would take minutes

// Field indices in the schema of TFLite.
constexpr int kSubgraphs = 2, kBuffers = 4, kExternalBufferGroups = 8, kExternalBuffers = 9;  // of a model
constexpr int kTensors = 0, kOperators = 3;                                                   // of a subgraph
constexpr int kExternalBuffer = 10;                                                           // of a tensor
constexpr int kBufferOffset = 1;   // of a buffer, counted from the start of the file; its size follows
constexpr int kOptionsOffset = 9;  // the same for the large options of an operator

Message inner(Message message, std::uint32_t field) {
  for (const Step& step : kSteps) {
    if (step.from == message && step.field == field) return step.to;
  }
  return Message::other;
}

struct Pending {
  Message message;
  std::size_t begin;
  std::size_t end;
  int depth;
};

bool onnx_refers(const Bytes& data) {
  std::vector<Pending> pending = {{Message::model, 0, data.size(), 0}};
  int count = 0;
  while (!pending.empty()) {
    const Pending part = pending.back();
    pending.pop_back();
    if (part.depth > kMaxNesting) throw std::invalid_argument("graphs are nested too deeply");
    ProtobufFields fields(data.data(), part.begin, part.end);
    while (const auto field = fields.next()) {
      if (++count > kMaxFields) throw std::invalid_argument("it has too many fields");
      // A field may occur several times; parsers take the last one or merge all. Any occurrence is refused.
      if (part.message == Message::tensor) {
        const bool inside = field->type == WireType::varint && field->value == 0;
        if (field->number == kExternalData || (field->number == kDataLocation && !inside)) return true;
      } else if (field->type == WireType::bytes) {
        const Message next = inner(part.message, field->number);
        if (next != Message::other) pending.push_back({next, field->begin, field->end, part.depth + 1});
      }
    }
  }
  return false;
}

void check_inside(const Bytes& data, const Flatbuffer::Table& table, int offset_field) {
  const std::uint64_t offset = table.uint64(offset_field), size = table.uint64(offset_field + 1);
  if (offset > data.size() || size > data.size() - offset) {
    throw std::invalid_argument("a buffer lies outside the file");
  }
}

bool tflite_refers(const Bytes& data) {
  if (data.size() < 8 || std::memcmp(data.data() + 4, "TFL3", 4) != 0) {
    throw std::invalid_argument("it has no TFLite header");
  }
  Flatbuffer file(data.data(), data.size());
  const Flatbuffer::Table model = file.root();
  if (model.length(kExternalBufferGroups) != 0 || model.length(kExternalBuffers) != 0) return true;
  for (std::int64_t i = 0; i < model.length(kBuffers); ++i) check_inside(data, model.table(kBuffers, i), kBufferOffset);
  for (std::int64_t i = 0; i < model.length(kSubgraphs); ++i) {
    const Flatbuffer::Table graph = model.table(kSubgraphs, i);
    for (std::int64_t t = 0; t < graph.length(kTensors); ++t) {
      if (graph.table(kTensors, t).uint32(kExternalBuffer) != 0) return true;
    }
    for (std::int64_t o = 0; o < graph.length(kOperators); ++o) {
      check_inside(data, graph.table(kOperators, o), kOptionsOffset);
    }
  }
  return false;
}

void refuse(const std::string& path, const Bytes& data, bool (*refers)(const Bytes&), const char* format,
            const char* hint) {
  bool outside = false;
  try {
    if (data.empty()) throw std::invalid_argument("it is empty");
    outside = refers(data);
  } catch (const std::invalid_argument& error) {
    throw backend_error(path + ": cannot be read as " + format + " file: " + error.what());
  }
  if (outside)
    throw backend_error(path + ": its weights lie in another file, which a bundle's hashes do not cover", hint);
}

}  // namespace

void refuse_onnx_side_files(const std::string& path, const Bytes& data) {
  refuse(path, data, onnx_refers, "an ONNX",
         "Save the graph in one file: onnx.save_model(model, path, save_as_external_data=False).");
}

void refuse_tflite_side_files(const std::string& path, const Bytes& data) {
  refuse(path, data, tflite_refers, "a TFLite", "Convert the graph so that its weights are in the file itself.");
}

}  // namespace eetool
