// Graphs and tables of $title. The graphs are TFLite files: $model_bytes bytes of flash.
#include "${name}_data.h"

#include <math.h>

const char *const ${name}_labels[${NAME}_CLASSES] = {
$labels
};

namespace ${name}_data {

namespace {

$graphs
$exits_table
}  // namespace

const Component kComponents[kComponentCount] = {
$component_rows
};

const Tensor kTensors[kTensorCount] = {
$tensor_rows
};

const Move kMoves[kMoveCount] = {
$move_rows
};

const Input kInputs[${NAME}_INPUTS] = {
$input_rows
};

const Point kPoints[kPointCount] = {
$point_rows
};

}  // namespace ${name}_data

// Halves are rounded away from zero, as TFLite's own quantisation does.
int8_t ${name}_quantize(int index, float value) {
  const ${name}_data::Input &input = ${name}_data::kInputs[index];
  const float steps = value / input.scale;
  const float rounded = copysignf(floorf(fabsf(steps) + 0.5f), steps) + static_cast<float>(input.zero_point);
  return static_cast<int8_t>(fminf(fmaxf(rounded, -128), 127));
}
