// Runs the source of a cascade on inputs from a file, or finds the smallest arena of one graph.
//
//   program cascade INPUTS SIZE [SIZE ...]   INPUTS: int8 tensors, call after call; sizes in bytes of those of a call
//   program graph FILE
//
// Lines of the first: `memory POINTER INTERPRETERS WORKING PERSISTENT`, then `answer POINT CLASS EXIT CONFIDENCE`. The
// second prints `arena BYTES` and has another code than 0 where the graph cannot be loaded.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#include "cascade.h"
#include "cascade_data.h"
#include "cascade_operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr size_t kAlignment = 16;
constexpr size_t kLargestArena = 1 << 24;
alignas(kAlignment) uint8_t arena[kLargestArena];

std::vector<char> Read(const char *path) {
  std::vector<char> data;
  FILE *file = fopen(path, "rb");
  if (file == nullptr) return data;
  char block[4096];
  for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) data.insert(data.end(), block, block + n);
  fclose(file);
  return data;
}

int RunCascade(const char *path, char **sizes) {
  const cascade_status status = cascade_init();
  if (status != CASCADE_OK) return 10 + status;
  printf("memory %zu %zu %zu %zu\n", sizeof(void *), cascade_data::kComponentCount * sizeof(tflite::MicroInterpreter),
         cascade_working_used, cascade_persistent_used);
  const std::vector<char> inputs = Read(path);
  for (unsigned point = 0; point < cascade_data::kPointCount; ++point) {
    if (cascade_select(static_cast<cascade_point>(point)) != CASCADE_OK) return 20;
    for (size_t at = 0; at < inputs.size();) {
      for (int i = 0; i < CASCADE_INPUTS; ++i) {
        const size_t size = strtoul(sizes[i], nullptr, 10);
        memcpy(cascade_input(i), inputs.data() + at, size);
        at += size;
      }
      cascade_result result;
      if (cascade_run(&result) != CASCADE_OK) return 21;
      printf("answer %u %d %d %.9g\n", point, result.class_index, result.exit_index, double{result.confidence});
    }
  }
  return 0;
}

bool Loads(const void *graph, size_t arena_bytes) {
  cascade_data::Resolver resolver;
  if (cascade_data::AddOperators(&resolver) != kTfLiteOk) return false;
  tflite::MicroInterpreter interpreter(tflite::GetModel(graph), resolver, arena, arena_bytes);
  return interpreter.AllocateTensors() == kTfLiteOk && interpreter.Invoke() == kTfLiteOk;
}

int FindArena(const char *path) {
  const std::vector<char> file = Read(path);
  void *graph = nullptr;
  if (file.empty() || posix_memalign(&graph, kAlignment, file.size()) != 0) return 30;
  memcpy(graph, file.data(), file.size());
  if (!Loads(graph, kLargestArena)) return 31;
  size_t least = 64, most = kLargestArena / kAlignment;  // an allocator writes its records before it checks for room
  while (most - least > 1) {
    const size_t middle = (least + most) / 2;
    (Loads(graph, middle * kAlignment) ? most : least) = middle;
  }
  printf("arena %zu\n", most * kAlignment);
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "graph") == 0) return FindArena(argv[2]);
  if (argc == 3 + CASCADE_INPUTS && strcmp(argv[1], "cascade") == 0) return RunCascade(argv[2], argv + 3);
  return 2;
}
