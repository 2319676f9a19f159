// Detection of graph files that refer to other files, which the hashes of a bundle do not cover.
#pragma once

#include <string>

#include "bundle.hpp"

namespace eetool {

/// Throw a backend error where a tensor of an ONNX file is in another file, or `data` is no ONNX file.
void refuse_onnx_side_files(const std::string& path, const Bytes& data);

/// Throw a backend error where a buffer of a TFLite file is outside `data`, or `data` is no TFLite file.
void refuse_tflite_side_files(const std::string& path, const Bytes& data);

}  // namespace eetool
