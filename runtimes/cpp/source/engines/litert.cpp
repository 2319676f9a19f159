#include "engines/litert.hpp"

#include <cstdlib>
#include <cstring>

#include "engines/exported_names.hpp"
#include "engines/litert_graph.hpp"
#include "error.hpp"
#include "side_files.hpp"
#include "text.hpp"

namespace eetool::litert {
namespace {

constexpr const char* kHint =
    "Unpack the wheel of PyPI (`pip download ai-edge-litert==2.3.0 --no-deps`), and give the path of libLiteRt.so in "
    "the options or in EETOOL_LITERT.";

/// A release whose functions were tried: their number, and the hash of their names.
struct Release {
  const char* version;
  std::size_t function_count;
  std::uint64_t names_hash;
};

// The library does not tell its version, and types of its functions changed between 2.1.5 and 2.1.6 under one name. A
// release that adds or removes a function is unknown until it was tried.
constexpr Release kKnownReleases[] = {
    {"2.1.6", 406, 0xdd4b07912b2f8710},
    {"2.2.0", 408, 0x88bde002d937df9e},
    {"2.3.0", 416, 0xfcb9a380c1cb0e81},
};

/// Return the 64-bit FNV-1a hash of names, each with a line end.
std::uint64_t hash_names(const std::vector<std::string>& names) {
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](char character) {
    hash = (hash ^ static_cast<unsigned char>(character)) * 0x100000001b3;
  };
  for (const std::string& name : names) {
    for (const char character : name) add(character);
    add('\n');
  }
  return hash;
}

/// Return the version whose functions these are, or an empty text.
std::string version_of(const std::vector<std::string>& names) {
  const std::uint64_t hash = hash_names(names);
  for (const Release& release : kKnownReleases) {
    if (release.function_count == names.size() && release.names_hash == hash) return release.version;
  }
  return "";
}

struct StatusName {
  int status;
  const char* name;
};

constexpr StatusName kStatusNames[] = {
    {1, "invalid argument"},       {2, "out of memory"},       {3, "runtime failure"},
    {4, "missing input tensor"},   {5, "unsupported"},         {6, "not found"},
    {500, "file cannot be read"},  {501, "invalid flatbuffer"}, {502, "a library cannot be loaded"},
    {504, "compilation failed"},   {1000, "index out of bounds"}};

}  // namespace

bool Api::load(const SharedLibrary& library) {
  const auto load_all = [&library](auto&... function) { return (function.load(library) && ...); };
  return load_all(create_environment, create_model, destroy_model, create_options, destroy_options, set_accelerators,
                  create_opaque, destroy_opaque, add_opaque, compile, destroy_compiled, signature_count, signature,
                  signature_key, input_count, output_count, input_name, output_name, input_tensor, output_tensor, tensor_type,
                  wrap_memory, destroy_buffer, run);
}

Library::Library(SharedLibrary library) : library_(std::move(library)) {
  const std::string name = printable(library_.name());
  if (!api_.load(library_)) {
    throw backend_error(name + " is not LiteRT 2.1.6 or later: it lacks functions of its C interface", kHint);
  }
  version_ = version_of(exported_names(library_.handle(), "LiteRt"));
  if (version_.empty()) {
    throw backend_error(name + " is a release of LiteRT that this library was not tried with",
                        "Known releases are ai-edge-litert 2.1.6, 2.2.0 and 2.3.0. " + std::string(kHint));
  }
}

void Library::fail(int status, const std::string& what) {
  std::string reason = "status " + std::to_string(status);
  for (const StatusName& known : kStatusNames) {
    if (known.status == status) reason = known.name;
  }
  throw backend_error(what + ": " + reason);
}

SharedLibrary LiteRt::find_library(const std::string& path) {
  return SharedLibrary(path, "EETOOL_LITERT", {"libLiteRt.so"}, kHint);
}

LiteRt::LiteRt(SharedLibrary library) : library_(std::make_shared<const Library>(std::move(library))) {}

Environment* LiteRt::environment() {
  const std::lock_guard lock(mutex_);
  if (environment_ == nullptr) {
    const EnvironmentOption silent{kMinLoggerSeverity, {kInteger, kSilent}};
    library_->check(library_->api().create_environment(1, &silent, &environment_),
                    "LiteRT " + version() + " cannot start");
  }
  return environment_;
}

Owned<Options> LiteRt::options(std::int64_t thread_count) const {
  const Api& api = library_->api();
  const std::string failure = "LiteRT " + version() + " refuses its options";
  Options* made = nullptr;
  library_->check(api.create_options(&made), failure);
  Owned<Options> options(made, {api.destroy_options.function});
  library_->check(api.set_accelerators(made, kCpu), failure);
  // The options of XNNPACK are a text that the library parses and frees.
  const std::string text = "num_threads = " + std::to_string(thread_count) + "\n";
  char* payload = strdup(text.c_str());
  if (payload == nullptr) throw std::bad_alloc();
  OpaqueOptions* opaque = nullptr;
  if (const int status = api.create_opaque("xnnpack", payload, std::free, &opaque); status != kOk) {
    std::free(payload);
    library_->check(status, failure);
  }
  if (const int status = api.add_opaque(made, opaque); status != kOk) {
    api.destroy_opaque(opaque);
    library_->check(status, failure);
  }
  return options;
}

std::shared_ptr<CompiledFile> LiteRt::compile(const std::string& path, const Bytes& data, Threads threads) {
  refuse_tflite_side_files(path, data);
  const Api& api = library_->api();
  const std::string failure = path + ": LiteRT " + version() + " cannot load this graph";
  Environment* const used = environment();
  auto bytes = std::make_unique<AlignedBytes>(data.size());  // the model refers to them as long as it lives
  std::memcpy(bytes->data(), data.data(), data.size());
  Model* model = nullptr;
  library_->check(api.create_model(used, bytes->data(), bytes->size(), &model), failure);
  Owned<Model> owned(model, {api.destroy_model.function});
  const Owned<Options> chosen = options(threads.count);
  CompiledModel* compiled = nullptr;
  library_->check(api.compile(used, model, chosen.get(), &compiled), failure);
  Owned<CompiledModel> owned_compiled(compiled, {api.destroy_compiled.function});
  // The library has no pool for several files.
  return std::make_shared<CompiledFile>(library_, path, std::move(bytes), std::move(owned), std::move(owned_compiled),
                                        Threads{threads.count, Pool::per_graph});
}

std::shared_ptr<Graph> LiteRt::open(const std::string& path, const Bytes& data, Threads threads) {
  const auto file = compile(path, data, threads);
  if (const std::size_t count = file->signature_count(); count != 1) {
    throw backend_error(path + ": has " + std::to_string(count) + " signatures, not 1");
  }
  return std::make_shared<LitertGraph>(file, 0);
}

Named<std::shared_ptr<Graph>> LiteRt::open_shared(const std::string& path, const Bytes& data, Threads threads) {
  const auto file = compile(path, data, threads);
  Named<std::shared_ptr<Graph>> graphs;
  for (std::size_t i = 0; i < file->signature_count(); ++i) {
    graphs.emplace_back(file->signature_key(i), std::make_shared<LitertGraph>(file, i));
  }
  return graphs;
}

}  // namespace eetool::litert
