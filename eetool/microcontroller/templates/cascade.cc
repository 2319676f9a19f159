// Gate loop of $title over TensorFlow Lite Micro. Nothing is allocated on the heap.
#include "$name.h"

#include <math.h>
#include <string.h>
#include <new>
#include "${name}_data.h"
#include "${name}_operators.h"
#include "tensorflow/lite/micro/micro_allocator.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

using namespace ${name}_data;
using tflite::MicroAllocator, tflite::MicroInterpreter;
size_t ${name}_working_used, ${name}_persistent_used;

namespace {

constexpr size_t kLeastRoom = 512;  // an allocator writes its own records before it checks for room
static_assert(${NAME}_WORKING_BYTES % 16 == 0 && ${NAME}_WORKING_BYTES >= kMostWaitingBytes, "see ${name}.h");
static_assert(${NAME}_PERSISTENT_BYTES >= kLeastRoom, "see ${name}.h");

// First the working memory, which components use in turn, then the records of all interpreters.
alignas(16) int8_t arena[${NAME}_WORKING_BYTES + ${NAME}_PERSISTENT_BYTES];
alignas(MicroInterpreter) uint8_t interpreter_memory[kComponentCount][sizeof(MicroInterpreter)];
alignas(Resolver) uint8_t resolver_memory[sizeof(Resolver)];
MicroInterpreter *interpreters[kComponentCount];
const Point *point;  // NULL until all components are ready

TfLiteTensor *Port(const Move &move) {
  MicroInterpreter *owner = interpreters[move.component];
  return move.is_read ? owner->input(move.port) : owner->output(move.port);
}

// Tensors that wait for a later component lie at the end of the working memory, out of reach of those between.
int8_t *Waiting(int tensor) { return arena + ${NAME}_WORKING_BYTES - kTensors[tensor].distance_from_end; }

void MoveTensors(int component, bool reads) {
  for (const Move &move : kMoves) {
    if (move.component != component || move.is_read != reads) continue;
    int8_t *ends[] = {Port(move)->data.int8, Waiting(move.tensor)};
    memmove(ends[!reads], ends[reads], kTensors[move.tensor].bytes);
  }
}

bool HasExpectedSizes(int component) {
  for (const Move &move : kMoves)
    if (move.component == component && Port(move)->bytes != kTensors[move.tensor].bytes) return false;
  const Exit *exit = kComponents[component].exit;
  return exit == nullptr || interpreters[component]->output(exit->port)->bytes == ${NAME}_CLASSES;
}

// The largest softmax probability of the dequantised logits; their zero point cancels out.
void Judge(const Exit &exit, const int8_t *logits, ${name}_result *result) {
  int best = 0;
  for (int i = 1; i < ${NAME}_CLASSES; ++i) best = logits[i] > logits[best] ? i : best;
  float sum = 0;
  for (int i = 0; i < ${NAME}_CLASSES; ++i)
    sum += expf(static_cast<float>(logits[i] - logits[best]) * exit.scale_by_temperature);
  *result = {best, exit.index, 1 / sum};
}

}  // namespace

${name}_status ${name}_init(void) {
  point = nullptr;
  ${name}_working_used = ${name}_persistent_used = 0;
  Resolver *resolver = new (resolver_memory) Resolver();
  if (AddOperators(resolver) != kTfLiteOk) return ${NAME}_ERROR_MODEL;
  uint8_t *const working = reinterpret_cast<uint8_t *>(arena), *const records = working + ${NAME}_WORKING_BYTES;
  MicroAllocator *allocator =
      MicroAllocator::Create(records, ${NAME}_PERSISTENT_BYTES, working, ${NAME}_WORKING_BYTES);
  // Those beside which most bytes wait come first: the allocator tells the most that any of them uses so far.
  for (const uint32_t waiting : kWaitingBytes) {
    for (int i = 0; i < kComponentCount; ++i) {
      if (kComponents[i].waiting_bytes != waiting) continue;
      const tflite::Model *model = tflite::GetModel(kComponents[i].model);
      interpreters[i] = new (interpreter_memory[i]) MicroInterpreter(model, *resolver, allocator);
      if (interpreters[i]->AllocateTensors() != kTfLiteOk) return ${NAME}_ERROR_MEMORY;
      if (!HasExpectedSizes(i)) return ${NAME}_ERROR_MODEL;
    }
    const uint8_t *last = static_cast<uint8_t *>(allocator->AllocatePersistentBuffer(0));
    ${name}_persistent_used = static_cast<size_t>(working + sizeof arena - last);
    const size_t in_turn = allocator->used_bytes() - ${name}_persistent_used + waiting;
    if (in_turn > ${name}_working_used) ${name}_working_used = in_turn;
    if (in_turn > ${NAME}_WORKING_BYTES) return ${NAME}_ERROR_MEMORY;
  }
  point = &kPoints[${NAME}_DEFAULT_POINT];
  return ${NAME}_OK;
}

${name}_status ${name}_select(${name}_point chosen) {
  if (point == nullptr || static_cast<unsigned>(chosen) >= kPointCount) return ${NAME}_ERROR_USE;
  point = &kPoints[chosen];
  return ${NAME}_OK;
}

int8_t *${name}_input(int index) {
  if (point == nullptr || index < 0 || index >= ${NAME}_INPUTS) return nullptr;
  const Input &input = kInputs[index];
  return input.tensor < 0 ? interpreters[0]->input(input.port)->data.int8 : Waiting(input.tensor);
}

${name}_status ${name}_run(${name}_result *result) {
  if (point == nullptr || result == nullptr) return ${NAME}_ERROR_USE;
  for (int i = 0; i < kComponentCount; ++i) {
    if (!(point->runs >> i & 1)) continue;
    MoveTensors(i, true);
    if (interpreters[i]->Invoke() != kTfLiteOk) return ${NAME}_ERROR_RUN;
    if (const Exit *exit = kComponents[i].exit) {
      Judge(*exit, interpreters[i]->output(exit->port)->data.int8, result);
      if (result->confidence >= point->thresholds[exit->index]) return ${NAME}_OK;
    }
    MoveTensors(i, false);
  }
  return ${NAME}_ERROR_RUN;
}
