// Operators of TensorFlow Lite Micro that the graphs of $title use; others are not linked.
#ifndef ${NAME}_OPERATORS_H_
#define ${NAME}_OPERATORS_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace ${name}_data {

using Resolver = tflite::MicroMutableOpResolver<$operator_count>;

inline TfLiteStatus AddOperators(Resolver *resolver) {
$add_operators
  return kTfLiteOk;
}

}  // namespace ${name}_data

#endif
