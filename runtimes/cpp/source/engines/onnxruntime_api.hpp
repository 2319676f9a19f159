// The part of ONNX Runtime's C interface that is used, declared by position in its table of functions.
//
// The library publishes one table per process; new releases add functions at its end, and never move one. The positions
// and types are those of `OrtApi` in the documentation of ONNX Runtime's C API, version 14 (release 1.14) and later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace eetool::ort {

// Objects of the library, used by address only.
struct Allocator;
struct Env;
struct IoBinding;
struct MemoryInfo;
struct RunOptions;
struct Session;
struct SessionOptions;
struct Status;
struct TensorInfo;
struct ThreadingOptions;
struct TypeInfo;
struct Value;

/// Entry point of the library.
struct ApiBase {
  const void* (*get_api)(std::uint32_t version);  // null for a version that the library does not know
  const char* (*get_version)();
};
using GetApiBase = const ApiBase* (*)();

inline constexpr std::uint32_t kApiVersion = 14;
inline constexpr int kFatal = 4;       // severity of log lines
inline constexpr int kSequential = 0;  // execution mode
inline constexpr int kDeviceAllocator = 0, kDefaultMemory = 0;
inline constexpr int kTensor = 1;  // kind of a value

/// Function at a place of the table.
template <std::size_t position, typename Result, typename... Arguments>
struct Entry {
  using Function = Result (*)(Arguments...);

  Function function = nullptr;

  bool load(const void* const* table) {
    function = reinterpret_cast<Function>(const_cast<void*>(table[position]));
    return function != nullptr;
  }
  Result operator()(Arguments... arguments) const { return function(arguments...); }
};

template <std::size_t position, typename... Arguments>
using Call = Entry<position, Status*, Arguments...>;  // returns null where it succeeds
template <std::size_t position, typename Object>
using Release = Entry<position, void, Object*>;

struct Api {
  Entry<2, const char*, const Status*> error_message;
  Call<3, int, const char*, Env**> create_env;
  Call<8, const Env*, const void*, std::size_t, const SessionOptions*, Session**> create_session;
  Call<9, Session*, const RunOptions*, const char* const*, const Value* const*, std::size_t, const char* const*,
       std::size_t, Value**>
      run;
  Call<10, SessionOptions**> create_session_options;
  Call<13, SessionOptions*, int> set_execution_mode;
  Call<24, SessionOptions*, int> set_intra_threads;
  Call<25, SessionOptions*, int> set_inter_threads;
  Call<30, const Session*, std::size_t*> input_count;
  Call<31, const Session*, std::size_t*> output_count;
  Call<33, const Session*, std::size_t, TypeInfo**> input_type;
  Call<34, const Session*, std::size_t, TypeInfo**> output_type;
  Call<36, const Session*, std::size_t, Allocator*, char**> input_name;
  Call<37, const Session*, std::size_t, Allocator*, char**> output_name;
  Call<39, RunOptions**> create_run_options;
  Call<49, const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t, int, Value**> create_tensor;
  Call<51, Value*, void**> tensor_data;
  Call<55, const TypeInfo*, const TensorInfo**> tensor_info;
  Call<60, const TensorInfo*, int*> element_type;
  Call<61, const TensorInfo*, std::size_t*> rank;
  Call<62, const TensorInfo*, std::int64_t*, std::size_t> sizes;
  Call<63, const TensorInfo*, const char**, std::size_t> symbols;
  Call<65, const Value*, TensorInfo**> value_info;
  Call<69, int, int, MemoryInfo**> create_memory_info;
  Call<76, Allocator*, void*> free;
  Call<78, Allocator**> default_allocator;
  Release<92, Env> release_env;
  Release<93, Status> release_status;
  Release<94, MemoryInfo> release_memory_info;
  Release<95, Session> release_session;
  Release<96, Value> release_value;
  Release<97, RunOptions> release_run_options;
  Release<98, TypeInfo> release_type_info;
  Release<99, TensorInfo> release_tensor_info;
  Release<100, SessionOptions> release_session_options;
  Call<119, int, const char*, const ThreadingOptions*, Env**> create_env_with_pool;
  Call<120, SessionOptions*> use_pool_of_env;
  Call<121, ThreadingOptions**> create_threading_options;
  Release<122, ThreadingOptions> release_threading_options;
  Call<130, SessionOptions*, const char*, const char*> add_session_config;
  Call<133, Session*, const RunOptions*, const IoBinding*> run_with_binding;
  Call<134, Session*, IoBinding**> create_binding;
  Release<135, IoBinding> release_binding;
  Call<136, IoBinding*, const char*, const Value*> bind_input;
  Call<137, IoBinding*, const char*, const Value*> bind_output;
  Call<147, ThreadingOptions*, int> set_pool_intra_threads;
  Call<148, ThreadingOptions*, int> set_pool_inter_threads;

  /// Read the entries; returns false where one is missing.
  bool load(const void* table);
};

}  // namespace eetool::ort
