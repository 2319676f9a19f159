// An interpreter with the interface of TensorFlow Lite Micro, whose graphs are run by whoever loaded the library.
//
// A graph may overwrite all memory that it was planned in, apart from its outputs. `run` does so, to show that what
// waits for later components lies elsewhere.
#ifndef TFLM_SHIM_INTERPRETER_H_
#define TFLM_SHIM_INTERPRETER_H_

#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

struct TfLiteTensor {
  union {
    void *data;
    int8_t *int8;
  } data;
  size_t bytes;
};

extern "C" {

struct TflmShim {
  int (*end_bytes)(const void *graph, int is_input, int position);  // 0 behind the last one
  int (*run)(const void *graph, int8_t *const *inputs, int8_t *const *outputs, uint8_t *working, size_t working_bytes);
};

extern TflmShim tflm_shim;
}

namespace tflite {

class MicroInterpreter {
 public:
  MicroInterpreter(const Model *graph, const MicroOpResolver &, MicroAllocator *allocator)
      : graph_(graph), allocator_(allocator) {}

  TfLiteStatus AllocateTensors() {
    size_t used = 0;
    for (int is_input = 1; is_input >= 0; --is_input) {
      for (int i = 0; i < kMostEnds; ++i) {
        const int bytes = tflm_shim.end_bytes(graph_, is_input, i);
        if (bytes == 0) break;
        TfLiteTensor &tensor = ends_[is_input][i];
        tensor.bytes = static_cast<size_t>(bytes);
        tensor.data.data = buffers_[is_input][i] = reinterpret_cast<int8_t *>(allocator_->working() + used);
        used += Aligned(tensor.bytes);
      }
    }
    planned_bytes_ = used + kInsideBytes;
    const bool fits = allocator_->ReserveWorking(planned_bytes_);
    return fits && allocator_->AllocatePersistentBuffer(kRecordBytes) != nullptr ? kTfLiteOk : kTfLiteError;
  }

  TfLiteStatus Invoke() {
    uint8_t *working = allocator_->working();
    const int status = tflm_shim.run(graph_, buffers_[1], buffers_[0], working, planned_bytes_);
    return status == 0 ? kTfLiteOk : kTfLiteError;
  }

  TfLiteTensor *input(size_t position) { return &ends_[1][position]; }
  TfLiteTensor *output(size_t position) { return &ends_[0][position]; }

 private:
  static constexpr int kMostEnds = 4;
  static constexpr size_t kInsideBytes = 64;  // of tensors that are neither input nor output
  static constexpr size_t kRecordBytes = 512;

  const Model *graph_;
  MicroAllocator *allocator_;
  size_t planned_bytes_ = 0;
  TfLiteTensor ends_[2][kMostEnds] = {};
  int8_t *buffers_[2][kMostEnds] = {};
};

}  // namespace tflite

#endif
