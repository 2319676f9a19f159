// Reader for the tables of a flatbuffer. Offsets that point outside the file are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace eetool {

/// The bytes of a file, with a count of the tables read so far.
class Flatbuffer {
 public:
  /// One table. Fields are read by their index in the schema; an absent field is 0 or empty.
  class Table {
   public:
    Table(Flatbuffer& file, std::int64_t at);

    std::uint64_t uint32(int index) const { return number<std::uint32_t>(index); }
    std::uint64_t uint64(int index) const { return number<std::uint64_t>(index); }

    /// Return the number of elements of a vector.
    std::int64_t length(int index) const;

    /// Return element `i` of a vector of tables.
    Table table(int index, std::int64_t i) const;

   private:
    std::optional<std::int64_t> field(int index) const;
    std::optional<std::int64_t> vector(int index) const;
    template <typename T>
    std::uint64_t number(int index) const;

    Flatbuffer* file_;
    std::int64_t at_;
    std::int64_t fields_ = 0;
    std::int64_t fields_size_ = 0;
  };

  Flatbuffer(const unsigned char* data, std::size_t size) : data_(data), size_(static_cast<std::int64_t>(size)) {}

  Table root() { return table(0); }

 private:
  /// Return the table that the offset at `place` points to.
  Table table(std::int64_t place);

  /// Read a little-endian number; throws std::invalid_argument outside the file.
  template <typename T>
  T read(std::int64_t at) const;

  const unsigned char* data_;
  std::int64_t size_;
  int visited_ = 0;
};

}  // namespace eetool
