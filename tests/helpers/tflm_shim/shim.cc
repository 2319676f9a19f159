#include "tensorflow/lite/micro/micro_interpreter.h"

TflmShim tflm_shim;
