#include "protobuf.hpp"

#include <stdexcept>

namespace eetool {
namespace {

constexpr unsigned kValueBits = 64, kTagBits = 32, kSizeBits = 31;

}  // namespace

std::optional<ProtobufField> ProtobufFields::next() {
  if (at_ >= end_) return std::nullopt;
  const auto tag = static_cast<std::uint32_t>(varint(kTagBits));
  ProtobufField field{tag >> 3, static_cast<WireType>(tag & 7), 0, at_, at_};
  if (field.number == 0) throw std::invalid_argument("a field has the number 0");
  std::uint64_t size = 0;
  switch (field.type) {
    case WireType::varint:
      field.value = varint(kValueBits);
      return field;
    case WireType::bytes:
      size = varint(kSizeBits);
      break;
    case WireType::fixed64:
      size = 8;
      break;
    case WireType::fixed32:
      size = 4;
      break;
    default:
      throw std::invalid_argument("unknown wire type");
  }
  if (size > end_ - at_) throw std::invalid_argument("a field is longer than the message around it");
  field.begin = at_;
  field.end = at_ += static_cast<std::size_t>(size);
  return field;
}

// Some parsers drop surplus bits and others refuse them, so they could hide a field.
std::uint64_t ProtobufFields::varint(unsigned bits) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; at_ < end_; shift += 7) {
    if (shift >= bits) throw std::invalid_argument("a number has more bytes than its bits need");
    const std::uint64_t part = data_[at_] & 127U;
    if (shift + 7 > bits && part >> (bits - shift) != 0) throw std::invalid_argument("a number has too many bits");
    value |= part << shift;
    if (data_[at_++] < 128) return value;
  }
  throw std::invalid_argument("it ends within a number");
}

}  // namespace eetool
