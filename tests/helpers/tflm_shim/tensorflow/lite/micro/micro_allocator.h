// The allocator of TensorFlow Lite Micro over two memories, as far as the source of a cascade uses it.
#ifndef TFLM_SHIM_ALLOCATOR_H_
#define TFLM_SHIM_ALLOCATOR_H_

#include <stddef.h>
#include <stdint.h>

#include <new>

enum TfLiteStatus { kTfLiteOk, kTfLiteError };

#define TF_LITE_ENSURE_STATUS(call)      \
  do {                                   \
    const TfLiteStatus status = (call);  \
    if (status != kTfLiteOk) return status; \
  } while (false)

namespace tflite {

constexpr size_t kAlignment = 16;

inline size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class MicroAllocator {
 public:
  static MicroAllocator *Create(uint8_t *records, size_t records_bytes, uint8_t *working, size_t working_bytes) {
    MicroAllocator own(records, records + records_bytes, working, working_bytes);
    void *place = own.AllocatePersistentBuffer(sizeof(MicroAllocator));
    return new (place) MicroAllocator(own);
  }

  void *AllocatePersistentBuffer(size_t bytes) {
    if (static_cast<size_t>(end_ - records_) < Aligned(bytes)) return nullptr;
    end_ -= Aligned(bytes);
    return end_;
  }

  bool ReserveWorking(size_t bytes) {
    if (bytes > working_used_) working_used_ = bytes;  // interpreters that share it run in turn
    return bytes <= working_bytes_;
  }

  size_t used_bytes() const { return working_used_ + static_cast<size_t>(last_ - end_); }
  uint8_t *working() const { return working_; }

 private:
  MicroAllocator(uint8_t *records, uint8_t *end, uint8_t *working, size_t working_bytes)
      : records_(records), last_(end), end_(end), working_(working), working_bytes_(working_bytes) {}

  uint8_t *records_, *last_, *end_, *working_;
  size_t working_bytes_, working_used_ = 0;
};

}  // namespace tflite

#endif
