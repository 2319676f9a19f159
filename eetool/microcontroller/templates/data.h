// Tables of $title: components, the tensors between them, and operating points.
#ifndef ${NAME}_DATA_H_
#define ${NAME}_DATA_H_

#include <stdint.h>

#include "$name.h"

namespace ${name}_data {

// An exit, and the output of its component that holds the int8 logits.
struct Exit {
  int index;
  int port;
  float scale_by_temperature;  // scale of the logits / temperature of the exit
};

// A graph, and the bytes at the end of the working memory that it must leave alone. Without an exit: NULL.
struct Component {
  const unsigned char *model;
  uint32_t waiting_bytes;
  const Exit *exit;
};

// A tensor that waits in the working memory for a later component.
struct Tensor {
  uint32_t bytes;
  uint32_t distance_from_end;
};

// A copy from a waiting tensor to an input of a component, or from an output to a waiting tensor.
struct Move {
  uint8_t component;
  uint8_t port;
  uint8_t tensor;
  bool is_read;
};

// An input of the model: a waiting tensor, or -1 and an input of the first component.
struct Input {
  int tensor;
  int port;
  float scale;
  int zero_point;
};

// An operating point. Bit i of `runs` says whether component i runs; a threshold of 2 never fires.
struct Point {
  uint32_t runs;
  float thresholds[${NAME}_EXITS];
};

constexpr int kComponentCount = $components;
constexpr unsigned kPointCount = $point_count;
constexpr int kTensorCount = $tensors;
constexpr int kMoveCount = $moves;
constexpr uint32_t kMostWaitingBytes = $most_waiting_bytes;
constexpr uint32_t kWaitingBytes[] = {$waiting_sizes};  // each once, the most first

extern const Component kComponents[kComponentCount];
extern const Tensor kTensors[kTensorCount];
extern const Move kMoves[kMoveCount];
extern const Input kInputs[${NAME}_INPUTS];
extern const Point kPoints[kPointCount];

}  // namespace ${name}_data

#endif
