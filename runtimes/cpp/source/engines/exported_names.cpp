#include "engines/exported_names.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdint>

namespace eetool {
namespace {

/// The tables of a loaded library that the dynamic linker uses.
struct SymbolTables {
  const ElfW(Sym) * symbols = nullptr;
  const char* names = nullptr;
  const std::uint32_t* hashes = nullptr;  // GNU hash table: it alone tells how many symbols there are
};

SymbolTables find_tables(const link_map& library) {
  SymbolTables tables;
  for (const ElfW(Dyn)* entry = library.l_ld; entry->d_tag != DT_NULL; ++entry) {
    // glibc stores addresses here, other linkers offsets.
    ElfW(Addr) address = entry->d_un.d_ptr;
    if (address < library.l_addr) address += library.l_addr;
    if (entry->d_tag == DT_SYMTAB) tables.symbols = reinterpret_cast<const ElfW(Sym)*>(address);
    if (entry->d_tag == DT_STRTAB) tables.names = reinterpret_cast<const char*>(address);
    if (entry->d_tag == DT_GNU_HASH) tables.hashes = reinterpret_cast<const std::uint32_t*>(address);
  }
  return tables;
}

}  // namespace

std::vector<std::string> exported_names(void* handle, const std::string& prefix) {
  link_map* library = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &library) != 0 || library == nullptr) return {};
  const SymbolTables tables = find_tables(*library);
  if (tables.symbols == nullptr || tables.names == nullptr || tables.hashes == nullptr) return {};
  // Header, Bloom filter, first symbol of each bucket, then a chain of hashes whose last one is odd for each bucket.
  const std::uint32_t bucket_count = tables.hashes[0], first = tables.hashes[1], filter_words = tables.hashes[2];
  const std::uint32_t* buckets = tables.hashes + 4 + filter_words * (sizeof(ElfW(Addr)) / sizeof(std::uint32_t));
  const std::uint32_t* chain = buckets + bucket_count;
  std::vector<std::string> names;
  for (std::uint32_t bucket = 0; bucket < bucket_count; ++bucket) {
    std::uint32_t symbol = buckets[bucket];
    if (symbol < first) continue;  // an empty bucket
    do {
      const std::string name = tables.names + tables.symbols[symbol].st_name;
      if (name.compare(0, prefix.size(), prefix) == 0) names.push_back(name);
    } while ((chain[symbol++ - first] & 1) == 0);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace eetool
