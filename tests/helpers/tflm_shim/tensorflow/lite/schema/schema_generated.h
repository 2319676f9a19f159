// Part of TensorFlow Lite's schema that the source of a cascade uses.
#ifndef TFLM_SHIM_SCHEMA_H_
#define TFLM_SHIM_SCHEMA_H_

namespace tflite {

struct Model {
  unsigned char first;
};

inline const Model *GetModel(const void *graph) { return static_cast<const Model *>(graph); }

}  // namespace tflite

#endif
