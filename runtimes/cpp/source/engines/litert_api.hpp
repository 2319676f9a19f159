// The part of LiteRT's C interface that is used, found by name.
//
// Types and numbers are those of LiteRT's C headers (litert/c) in the releases of `kKnownReleases`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engines/shared_library.hpp"

namespace eetool::litert {

// Objects of the library, used by address only.
struct CompiledModel;
struct Environment;
struct Model;
struct OpaqueOptions;
struct Options;
struct Signature;
struct Tensor;
struct TensorBuffer;

inline constexpr int kMaxRank = 8;
inline constexpr std::size_t kAlignment = 64;  // of memory that tensors may lie in

struct Layout {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  std::int32_t dimensions[kMaxRank];  // negative where the size is not known
  std::uint32_t strides[kMaxRank];
};
struct TensorType {
  int element_type;
  Layout layout;
};
static_assert(sizeof(TensorType) == 72, "the library's own size");

/// A value of any type; integers alone are used.
struct Any {
  int type;
  std::int64_t integer;
};
struct EnvironmentOption {
  int tag;
  Any value;
};

inline constexpr int kOk = 0;
inline constexpr int kInteger = 2;             // type of a value
inline constexpr int kMinLoggerSeverity = 25;  // tag of an environment option
inline constexpr int kSilent = 4;              // severity of log lines
inline constexpr int kCpu = 1;                 // accelerator

/// Function of the library.
template <typename Result, typename... Arguments>
struct Function {
  const char* name;
  Result (*function)(Arguments...) = nullptr;

  bool load(const SharedLibrary& library) {
    function = reinterpret_cast<Result (*)(Arguments...)>(library.symbol(name));
    return function != nullptr;
  }
  Result operator()(Arguments... arguments) const { return function(arguments...); }
};

template <typename... Arguments>
using Call = Function<int, Arguments...>;  // returns kOk where it succeeds
template <typename Object>
using Destroy = Function<void, Object*>;

struct Api {
  Call<int, const EnvironmentOption*, Environment**> create_environment{"LiteRtCreateEnvironment"};
  Call<Environment*, const void*, std::size_t, Model**> create_model{"LiteRtCreateModelFromBuffer"};
  Destroy<Model> destroy_model{"LiteRtDestroyModel"};
  Call<Options**> create_options{"LiteRtCreateOptions"};
  Destroy<Options> destroy_options{"LiteRtDestroyOptions"};
  Call<Options*, int> set_accelerators{"LiteRtSetOptionsHardwareAccelerators"};
  Call<const char*, void*, void (*)(void*), OpaqueOptions**> create_opaque{"LiteRtCreateOpaqueOptions"};
  Destroy<OpaqueOptions> destroy_opaque{"LiteRtDestroyOpaqueOptions"};
  Call<Options*, OpaqueOptions*> add_opaque{"LiteRtAddOpaqueOptions"};  // which then belongs to the options
  Call<Environment*, Model*, Options*, CompiledModel**> compile{"LiteRtCreateCompiledModel"};
  Destroy<CompiledModel> destroy_compiled{"LiteRtDestroyCompiledModel"};
  Call<Model*, std::size_t*> signature_count{"LiteRtGetNumModelSignatures"};
  Call<Model*, std::size_t, Signature**> signature{"LiteRtGetModelSignature"};
  Call<Signature*, const char**> signature_key{"LiteRtGetSignatureKey"};
  Call<Signature*, std::size_t*> input_count{"LiteRtGetNumSignatureInputs"};
  Call<Signature*, std::size_t*> output_count{"LiteRtGetNumSignatureOutputs"};
  Call<Signature*, std::size_t, const char**> input_name{"LiteRtGetSignatureInputName"};
  Call<Signature*, std::size_t, const char**> output_name{"LiteRtGetSignatureOutputName"};
  Call<Signature*, std::size_t, Tensor**> input_tensor{"LiteRtGetSignatureInputTensorByIndex"};
  Call<Signature*, std::size_t, Tensor**> output_tensor{"LiteRtGetSignatureOutputTensorByIndex"};
  Call<Tensor*, TensorType*> tensor_type{"LiteRtGetRankedTensorType"};
  Call<const TensorType*, void*, std::size_t, void (*)(void*), TensorBuffer**> wrap_memory{
      "LiteRtCreateTensorBufferFromHostMemory"};
  Destroy<TensorBuffer> destroy_buffer{"LiteRtDestroyTensorBuffer"};
  Call<CompiledModel*, std::size_t, std::size_t, TensorBuffer**, std::size_t, TensorBuffer**> run{
      "LiteRtRunCompiledModel"};

  /// Find the functions; returns false where one is missing.
  bool load(const SharedLibrary& library);
};

}  // namespace eetool::litert
