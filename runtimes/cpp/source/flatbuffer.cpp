#include "flatbuffer.hpp"

#include <stdexcept>

namespace eetool {
namespace {

constexpr int kMaxTables = 1 << 20;  // shared tables could make a short file expand without end

}  // namespace

template <typename T>
T Flatbuffer::read(std::int64_t at) const {
  if (at < 0 || at > size_ - static_cast<std::int64_t>(sizeof(T))) {
    throw std::invalid_argument("an offset points out of the file");
  }
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::uint64_t{data_[at + static_cast<std::int64_t>(i)]} << 8 * i;
  return static_cast<T>(value);
}

Flatbuffer::Table Flatbuffer::table(std::int64_t place) {
  if (++visited_ > kMaxTables) throw std::invalid_argument("it has too many tables");
  return Table(*this, place + read<std::uint32_t>(place));
}

Flatbuffer::Table::Table(Flatbuffer& file, std::int64_t at) : file_(&file), at_(at) {
  fields_ = at - file.read<std::int32_t>(at);
  fields_size_ = file.read<std::uint16_t>(fields_);
  if (fields_size_ % 2 != 0) throw std::invalid_argument("a list of fields has an odd size");
}

std::optional<std::int64_t> Flatbuffer::Table::field(int index) const {
  const std::int64_t entry = 4 + 2 * std::int64_t{index};  // after the sizes of this list and of the table
  if (entry + 2 > fields_size_) return std::nullopt;
  const std::int64_t offset = file_->read<std::uint16_t>(fields_ + entry);
  if (offset == 0) return std::nullopt;
  return at_ + offset;
}

std::optional<std::int64_t> Flatbuffer::Table::vector(int index) const {
  const auto at = field(index);
  if (!at) return std::nullopt;
  return *at + file_->read<std::uint32_t>(*at);
}

template <typename T>
std::uint64_t Flatbuffer::Table::number(int index) const {
  const auto at = field(index);
  return at ? file_->read<T>(*at) : 0;
}

template std::uint64_t Flatbuffer::Table::number<std::uint32_t>(int) const;
template std::uint64_t Flatbuffer::Table::number<std::uint64_t>(int) const;

std::int64_t Flatbuffer::Table::length(int index) const {
  const auto start = vector(index);
  return start ? file_->read<std::uint32_t>(*start) : 0;
}

Flatbuffer::Table Flatbuffer::Table::table(int index, std::int64_t i) const {
  return file_->table(*vector(index) + 4 * (i + 1));
}

}  // namespace eetool
