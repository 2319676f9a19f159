#include "resize.hpp"

#include <algorithm>
#include <cmath>

namespace eetool {
namespace {

constexpr std::uint8_t kPadValue = 114, kOpaque = 255;
constexpr std::size_t kRed = 19595, kGreen = 38470, kBlue = 7471;  // of 65536

/// One axis: its used part, the pixels that it becomes, and the padding before them.
struct Span {
  double start = 0;
  double stop = 0;
  std::int64_t size = 0;
  std::int64_t offset = 0;
};

/// Weights of one output pixel, on inputs from `low` on.
struct Weights {
  std::int64_t low = 0;
  std::vector<float> values;
};

/// Return product / divisor, rounded half up, and at least 1.
std::int64_t rounded(std::int64_t product, std::int64_t divisor) {
  return std::max<std::int64_t>(1, (2 * product + divisor) / (2 * divisor));
}

std::pair<Span, Span> fit_spans(const Picture& picture, std::int64_t rows, std::int64_t columns,
                                const std::string& fit) {
  const std::int64_t height = picture.height, width = picture.width;
  const auto whole_height = static_cast<double>(height), whole_width = static_cast<double>(width);
  const bool is_wide = width * rows > height * columns;  // than the result
  if (fit == "crop") {
    const double used_height =
        is_wide ? whole_height : static_cast<double>(width * rows) / static_cast<double>(columns);
    const double used_width =
        is_wide ? static_cast<double>(height * columns) / static_cast<double>(rows) : whole_width;
    const double top = (whole_height - used_height) / 2, left = (whole_width - used_width) / 2;
    return {{top, top + used_height, rows, 0}, {left, left + used_width, columns, 0}};
  }
  if (fit == "pad") {
    const std::int64_t inner_rows = is_wide ? rounded(height * columns, width) : rows;
    const std::int64_t inner_columns = is_wide ? columns : rounded(width * rows, height);
    return {{0, whole_height, inner_rows, (rows - inner_rows) / 2},
            {0, whole_width, inner_columns, (columns - inner_columns) / 2}};
  }
  return {{0, whole_height, rows, 0}, {0, whole_width, columns, 0}};
}

/// Return the weights of every output of `span` on `available` inputs: triangles as wide as an output.
std::vector<Weights> axis_weights(const Span& span, std::int64_t available) {
  const auto first = static_cast<float>(span.start), last = static_cast<float>(span.stop);
  const double scale = static_cast<double>(last - first) / static_cast<double>(span.size);
  const double reach = std::max(scale, 1.0);
  std::vector<Weights> outputs(static_cast<std::size_t>(span.size));
  for (std::size_t j = 0; j < outputs.size(); ++j) {
    const double centre = static_cast<double>(first) + (static_cast<double>(j) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(0, static_cast<std::int64_t>(std::floor(centre - reach)));
    const auto high = std::min(available, static_cast<std::int64_t>(std::ceil(centre + reach)));
    std::vector<double> exact;
    double sum = 0;
    for (std::int64_t i = low; i < high; ++i) {
      exact.push_back(std::max(0.0, 1.0 - std::abs(static_cast<double>(i) + 0.5 - centre) / reach));
      sum += exact.back();
    }
    outputs[j].low = low;
    for (const double weight : exact) outputs[j].values.push_back(static_cast<float>(weight / sum));
  }
  return outputs;
}

}  // namespace

bool is_opaque(const Picture& picture) {
  const auto channels = static_cast<std::size_t>(picture.channels), width = static_cast<std::size_t>(picture.width);
  for (std::int64_t y = 0; y < picture.height; ++y) {
    const std::uint8_t* row = picture.pixels + static_cast<std::size_t>(y) * picture.row_bytes;
    for (std::size_t x = 0; x < width; ++x) {
      if (row[x * channels + channels - 1] != kOpaque) return false;
    }
  }
  return true;
}

std::vector<std::uint8_t> resize(const Picture& picture, std::int64_t rows, std::int64_t columns, std::int64_t channels,
                                 const std::string& fit) {
  const auto [vertical, horizontal] = fit_spans(picture, rows, columns, fit);
  const std::vector<Weights> down = axis_weights(vertical, picture.height);
  const std::vector<Weights> across = axis_weights(horizontal, picture.width);
  const auto stride = static_cast<std::size_t>(picture.channels), depth = static_cast<std::size_t>(channels);
  const auto low = static_cast<std::size_t>(across.front().low);
  const std::size_t used = static_cast<std::size_t>(across.back().low) + across.back().values.size() - low;
  std::vector<float> row(used * stride);  // one row of the result in the width of the picture
  std::vector<std::uint8_t> out(static_cast<std::size_t>(rows * columns) * depth, kPadValue);
  for (std::size_t j = 0; j < down.size(); ++j) {
    std::fill(row.begin(), row.end(), 0.0F);
    for (std::size_t i = 0; i < down[j].values.size(); ++i) {
      const float weight = down[j].values[i];
      const std::uint8_t* from =
          picture.pixels + (static_cast<std::size_t>(down[j].low) + i) * picture.row_bytes + low * stride;
      for (std::size_t x = 0; x < row.size(); ++x) row[x] += weight * static_cast<float>(from[x]);
    }
    std::uint8_t* to = out.data() + ((static_cast<std::size_t>(vertical.offset) + j) * static_cast<std::size_t>(columns) +
                                     static_cast<std::size_t>(horizontal.offset)) *
                                        depth;
    for (const Weights& output : across) {
      const float* from = row.data() + (static_cast<std::size_t>(output.low) - low) * stride;
      for (std::size_t c = 0; c < depth; ++c) {
        float sum = 0.5F;
        for (std::size_t i = 0; i < output.values.size(); ++i) sum += output.values[i] * from[i * stride + c];
        *to++ = static_cast<std::uint8_t>(std::min(sum, 255.0F));
      }
    }
  }
  return out;
}

std::vector<std::uint8_t> with_channels(const std::vector<std::uint8_t>& pixels, std::int64_t found,
                                        std::int64_t wanted) {
  if (found == wanted) return pixels;
  std::vector<std::uint8_t> out;
  if (found == 1) {
    for (const std::uint8_t grey : pixels) out.insert(out.end(), static_cast<std::size_t>(wanted), grey);
    return out;
  }
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    const std::size_t luma = kRed * pixels[i] + kGreen * pixels[i + 1] + kBlue * pixels[i + 2];
    out.push_back(static_cast<std::uint8_t>((luma + (1U << 15)) >> 16));
  }
  return out;
}

}  // namespace eetool
