/* $title: an early-exit classifier behind a plain-C interface. Written by eetool $version; edit the model instead.
 *
 * Call ${name}_init once. For every input, write the tensor to ${name}_input(0) and call ${name}_run. The functions
 * share one arena, so only one thread may call them.
 */
#ifndef ${NAME}_H_
#define ${NAME}_H_

#include <stddef.h>
#include <stdint.h>

#define ${NAME}_CLASSES $classes
#define ${NAME}_EXITS $exits /* the last one is the final exit */
#define ${NAME}_INPUTS $inputs
#define ${NAME}_DEFAULT_POINT $default_point
$input_sizes
/* Memory for activations and for tensors that wait between components. Reference kernels use $measured_working bytes;
 * the rest is room for the scratch buffers of CMSIS-NN. */
#ifndef ${NAME}_WORKING_BYTES
#define ${NAME}_WORKING_BYTES $working_bytes
#endif

/* Memory for the interpreters' own records, measured with 64-bit pointers. ${name}_working_used and
 * ${name}_persistent_used tell what a target needs. */
#ifndef ${NAME}_PERSISTENT_BYTES
#define ${NAME}_PERSISTENT_BYTES $persistent_bytes
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  ${NAME}_OK = 0,
  ${NAME}_ERROR_MEMORY, /* a component does not fit: define larger ${NAME}_WORKING_BYTES or ${NAME}_PERSISTENT_BYTES */
  ${NAME}_ERROR_MODEL,  /* the files of this folder belong to different models */
  ${NAME}_ERROR_RUN,    /* a component failed */
  ${NAME}_ERROR_USE     /* ${name}_init was not called or failed, no such operating point, or no place for the result */
} ${name}_status;

/* Operating points: how sure an early exit must be. */
typedef enum {
$points
} ${name}_point;

typedef struct {
  int class_index;
  int exit_index;
  float confidence; /* the largest probability, calibrated by the exit's temperature */
} ${name}_result;

/* Prepare all components, and select ${NAME}_DEFAULT_POINT. */
${name}_status ${name}_init(void);

/* Use another operating point from the next run on. */
${name}_status ${name}_select(${name}_point point);

/* Return where to write an input before each run, or NULL; a run overwrites it. */
int8_t *${name}_input(int index);

/* Return the int8 number for a value of the float model's input. */
int8_t ${name}_quantize(int index, float value);

/* Run components until an exit is sure enough. */
${name}_status ${name}_run(${name}_result *result);

/* Bytes of each part of the arena that the components need on this target, after ${name}_init. */
extern size_t ${name}_working_used, ${name}_persistent_used;

extern const char *const ${name}_labels[${NAME}_CLASSES];

#ifdef __cplusplus
}
#endif

#endif
