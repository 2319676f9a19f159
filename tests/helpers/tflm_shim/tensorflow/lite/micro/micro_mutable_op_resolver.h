// The operator resolver of TensorFlow Lite Micro, with the operators of the tests' graphs.
#ifndef TFLM_SHIM_RESOLVER_H_
#define TFLM_SHIM_RESOLVER_H_

#include "tensorflow/lite/micro/micro_allocator.h"

namespace tflite {

class MicroOpResolver {};

template <unsigned kMost>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  TfLiteStatus AddAdd() { return Count(); }
  TfLiteStatus AddConv2D() { return Count(); }
  TfLiteStatus AddFullyConnected() { return Count(); }

 private:
  TfLiteStatus Count() { return ++count_ <= kMost ? kTfLiteOk : kTfLiteError; }

  unsigned count_ = 0;
};

}  // namespace tflite

#endif
