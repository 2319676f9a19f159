// Reader for the fields of a protocol buffer, stricter than the format where parsers disagree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace eetool {

enum class WireType : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };  // groups are not accepted

/// One field. `value` is that of a varint; the content of others is `begin` to `end`.
struct ProtobufField {
  std::uint32_t number;
  WireType type;
  std::uint64_t value;
  std::size_t begin;
  std::size_t end;
};

/// The fields of the message at `begin:end` of a file, one after the other.
class ProtobufFields {
 public:
  ProtobufFields(const unsigned char* data, std::size_t begin, std::size_t end) : data_(data), at_(begin), end_(end) {}

  /// Return the next field, or nothing at the end; throws std::invalid_argument where the message is not valid.
  std::optional<ProtobufField> next();

 private:
  std::uint64_t varint(unsigned bits);

  const unsigned char* data_;
  std::size_t at_;
  std::size_t end_;
};

}  // namespace eetool
