#include "bundle.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "error.hpp"
#include "sha256.hpp"
#include "text.hpp"

namespace eetool {
namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kCopyAgain = "Copy the bundle again from where it was made, or export it again.";
constexpr std::size_t kBlockBytes = 1 << 20;

Error refusal(const std::string& relative, const std::string& reason) {
  return bundle_error(relative + ": " + reason, kCopyAgain);
}

Error unreadable(const std::string& relative, int error) {
  return refusal(relative, "cannot be read: " + std::generic_category().message(error));
}

/// An open file, which is regular and was not reached through a link in its last part.
class RegularFile {
 public:
  RegularFile(const std::string& path, const std::string& relative) : relative_(relative) {
    struct stat status;
    // Before opening, because opening a device can have effects; and after it, because the name may have changed.
    if (lstat(path.c_str(), &status) != 0) throw unreadable(relative, errno);
    if (!S_ISREG(status.st_mode)) throw refusal(relative, "not a plain file");
    descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor_ < 0) throw unreadable(relative, errno);
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      close(descriptor_);
      throw refusal(relative, "not a plain file");
    }
    size_bytes_ = status.st_size;
  }
  ~RegularFile() { close(descriptor_); }
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  std::int64_t size_bytes() const { return size_bytes_; }

  /// Read up to `size` bytes; fewer only at the end of the file.
  std::size_t read(void* buffer, std::size_t size) const {
    std::size_t total = 0;
    while (total < size) {
      const ssize_t count = ::read(descriptor_, static_cast<char*>(buffer) + total, size - total);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw unreadable(relative_, errno);
      if (count == 0) break;
      total += static_cast<std::size_t>(count);
    }
    return total;
  }

 private:
  std::string relative_;
  int descriptor_ = -1;
  std::int64_t size_bytes_ = 0;
};

/// Refuse links among the folders from the bundle to a file.
void check_folders(const std::string& root, const std::string& relative) {
  for (std::size_t slash = relative.find('/'); slash != relative.npos; slash = relative.find('/', slash + 1)) {
    struct stat status;
    const std::string folder = root + "/" + relative.substr(0, slash);
    if (lstat(folder.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
      throw refusal(relative, "its folder is a link; links are not allowed in a bundle");
    }
  }
}

/// Pass the content of a listed file to `take` in blocks, and check its size and hash.
template <typename Take>
void read_checked(const std::string& root, const std::string& relative, const File& record, Take take) {
  check_folders(root, relative);
  const RegularFile file(root + "/" + relative, relative);
  if (file.size_bytes() != record.size_bytes) {
    throw refusal(relative, std::to_string(file.size_bytes()) + " bytes where the manifest says " +
                                std::to_string(record.size_bytes));
  }
  Sha256 digest;
  Bytes block(std::min<std::size_t>(kBlockBytes, static_cast<std::size_t>(record.size_bytes) + 1));
  std::int64_t total = 0;
  while (const std::size_t count = file.read(block.data(), block.size())) {
    total += static_cast<std::int64_t>(count);
    if (total > record.size_bytes) break;
    digest.update(block.data(), count);
    take(block.data(), count);
  }
  if (total != record.size_bytes || digest.hex_digest() != record.sha256) {
    throw refusal(relative, "its SHA-256 is not the one in the manifest; it was changed");
  }
}

Manifest read_manifest(const std::string& root) {
  const RegularFile file(root + "/" + kManifest, kManifest);
  std::string text(kMaxManifestBytes + 1, '\0');
  text.resize(file.read(text.data(), text.size()));
  return parse_manifest(text);
}

std::string last_part(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  return printable(slash == path.npos || path.size() == 1 ? path : path.substr(slash + 1));
}

}  // namespace

const Variant& Bundle::variant(const std::string& key) const {
  if (const Variant* found = find(manifest.variants, key)) return *found;
  std::vector<std::string> known;
  for (const auto& entry : manifest.variants) known.push_back(entry.first);
  throw usage_error(name + " has no variant " + in_quotes(key), "It has: " + join(known) + ".");
}

Bytes Bundle::read(const std::string& relative) const {
  const File* record = find(manifest.files, relative);
  if (record == nullptr) throw usage_error(name + " has no file " + in_quotes(relative));
  Bytes bytes;
  bytes.reserve(static_cast<std::size_t>(record->size_bytes));
  read_checked(path, relative, *record,
               [&](const unsigned char* block, std::size_t count) { bytes.insert(bytes.end(), block, block + count); });
  return bytes;
}

std::shared_ptr<const Bundle> open_bundle(const std::string& path) {
  struct stat status;
  const std::string shown = printable(path);
  if (stat(path.c_str(), &status) != 0) {
    const std::string problem = errno == ENOENT || errno == ENOTDIR
                                    ? "does not exist"
                                    : "cannot be read: " + std::generic_category().message(errno);
    throw bundle_error(shown + ": " + problem, "A bundle is a directory NAME.eebundle made by `eetool export`.");
  }
  if (!S_ISDIR(status.st_mode)) {
    throw bundle_error(shown + ": is not a directory",
                       "A bundle is a directory NAME.eebundle made by `eetool export`.");
  }
  auto bundle = std::make_shared<Bundle>(Bundle{path, last_part(path), read_manifest(path)});
  for (const auto& [relative, record] : bundle->manifest.files) {
    read_checked(path, relative, record, [](const unsigned char*, std::size_t) {});
  }
  return bundle;
}

}  // namespace eetool
