/* Runtime for early-exit bundles: easy inputs leave at an early exit, hard ones go deeper.
 *
 *   ee_model *model = NULL;
 *   ee_session *session = NULL;
 *   ee_error *error = NULL;
 *   ee_result result = {.struct_size = sizeof(ee_result)};
 *   if (ee_model_open("model.eebundle", NULL, &model, &error) != EE_OK) ...
 *   ee_session_new(model, &session, &error);
 *   ee_session_pixels(session, NULL, &image, &error);
 *   ee_session_run(session, NULL, &result, &error);
 *
 * Rules of all functions:
 * - A function that can fail returns an `ee_status`. On failure, outputs are untouched or NULL, and if `error` is not
 *   NULL, `*error` becomes an object with the message, which the caller frees. On success `*error` becomes NULL.
 * - No function throws, exits, or writes to the standard streams. NULL and closed objects are errors, not crashes.
 * - Texts are UTF-8 and end with a null byte. A text that goes in is copied; it needs to live only for the call.
 * - Structures begin with `struct_size`, which the caller sets to their size. A caller built with an older header
 *   passes a smaller size; the fields that it does not know have their default, 0.
 * - A model may be used by many threads at once. A session is used by one at a time. A model may be closed before its
 *   sessions, which then refuse to run; its memory is freed with the last session.
 * - Objects belong to the process that made them. In a child forked later, every call on them is refused.
 */
#ifndef EETOOL_RUNTIME_H
#define EETOOL_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(EE_BUILDING_LIBRARY)
#define EE_API __attribute__((visibility("default")))
#else
#define EE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface. A library with the same major version serves callers of all its minor versions. */
#define EE_ABI_MAJOR 1
#define EE_ABI_MINOR 0

/* Kinds of error, as in the Python runtime. */
typedef int32_t ee_status;
#define EE_OK 0
#define EE_ERROR_INTERNAL 1 /* out of memory, or a fault of this library */
#define EE_ERROR_USAGE 2    /* UsageError: an invalid call, a name or option that does not exist */
#define EE_ERROR_BUNDLE 3   /* BundleError: a bundle that cannot be read or does not match its manifest */
#define EE_ERROR_INPUT 4    /* InputError: a wrong name, shape or type of an input, or values that are not finite */
#define EE_ERROR_BACKEND 5  /* BackendError: an engine that is missing, or fails to open or run a graph */

typedef struct ee_model ee_model;
typedef struct ee_session ee_session;
typedef struct ee_error ee_error;

/* EE_ABI_MAJOR * 65536 + EE_ABI_MINOR of the library. Never fails. */
EE_API uint32_t ee_abi_version(void);

/* Version of the library, such as "0.1.0". Static. */
EE_API const char *ee_version(void);

/* What failed; how to mend it, or NULL; and the status. The texts live as long as `error`. NULL gives NULL and EE_OK. */
EE_API const char *ee_error_message(const ee_error *error);
EE_API const char *ee_error_hint(const ee_error *error);
EE_API ee_status ee_error_code(const ee_error *error);

/* Free an error; NULL is ignored. */
EE_API void ee_error_free(ee_error *error);

/* Free a text that a function of this header returned for the caller to free; NULL is ignored. */
EE_API void ee_free(char *text);

/* Pools of threads, where a graph has more than one. */
#define EE_POOL_PRIVATE 0 /* each graph has its own, whose idle threads do not spin */
#define EE_POOL_PROCESS 1 /* one pool for all graphs of the process, set once */

typedef struct ee_model_options {
  size_t struct_size;
  const char *variant;      /* such as "onnx/fp32"; NULL: the bundle's first that runs here */
  const char *format;       /* of the graphs, "onnx" or "tflite"; NULL: any */
  const char *engine;       /* path of the engine's shared library, which decides the format; NULL: the file that the
                               environment variable EETOOL_ONNXRUNTIME or EETOOL_LITERT names, else libonnxruntime.so.1
                               or libLiteRt.so where the system finds it */
  int32_t threads;          /* per graph; 0: the count that the bundle recorded for this machine, else 1 */
  int32_t pool;             /* EE_POOL_PRIVATE or EE_POOL_PROCESS */
  int32_t lazy;             /* 1: components after the first exit are loaded when an input first needs them */
} ee_model_options;

/* Open and check a bundle, and load its graphs.
 *
 * options: NULL for defaults. model: receives the object, to be closed with ee_model_close.
 * Errors: BUNDLE for a damaged, hostile or newer bundle; BACKEND without an engine for it; USAGE for wrong options. */
EE_API ee_status ee_model_open(const char *path, const ee_model_options *options, ee_model **model, ee_error **error);

/* Close a model. Its sessions refuse to run from then on, and still have to be freed. NULL is ignored. */
EE_API void ee_model_close(ee_model *model);

/* Describe a model as one JSON object: names, labels, inputs, exits, operating points, engine, settings in use, memory;
 * `warning` is a text where the default operating point costs as much as the network without early exits, else null.
 * text: receives a text that the caller frees with ee_free. */
EE_API ee_status ee_model_info_json(ee_model *model, char **text, ee_error **error);

/* Band of the watchdog: an input whose confidence at an early exit is in the band, bounds included, goes on to full
 * depth, whether or not its gate fires. */
typedef struct ee_watch {
  size_t struct_size;
  double low;
  double high;
} ee_watch;

/* Select an operating point of the bundle. Calls under way finish as begun; the next call of every session follows.
 * watch: NULL for none. Errors: USAGE for an unknown name or a band outside 0 <= low <= high <= 1. */
EE_API ee_status ee_model_use(ee_model *model, const char *operating_point, const ee_watch *watch, ee_error **error);

/* A threshold that never fires; its exit is skipped unless a later component needs it. */
#define EE_NO_GATE (-1.0)

/* Set one threshold per early exit: 0 to 2, or EE_NO_GATE. Otherwise as ee_model_use. */
EE_API ee_status ee_model_use_thresholds(ee_model *model, const double *thresholds, size_t count,
                                         const ee_watch *watch, ee_error **error);

/* Describe what the model did, as one JSON object with the fields of `Model.stats()` in Python.
 * text: receives a text that the caller frees with ee_free. */
EE_API ee_status ee_model_stats_json(ee_model *model, char **text, ee_error **error);

/* The same figures in the text format of Prometheus, version 0.0.4. text: as in ee_model_stats_json. */
EE_API ee_status ee_model_prometheus_text(ee_model *model, char **text, ee_error **error);

/* Make a session: the tensors and bound graphs of one call at a time.
 * session: receives the object, to be freed with ee_session_free. */
EE_API ee_status ee_session_new(ee_model *model, ee_session **session, ee_error **error);

/* Free a session; NULL is ignored. */
EE_API void ee_session_free(ee_session *session);

/* Types of elements. */
#define EE_FLOAT32 1
#define EE_INT64 2
#define EE_INT32 3
#define EE_UINT8 4
#define EE_INT8 5
#define EE_BOOL 6 /* one byte, 0 or 1 */

/* A finished tensor: contiguous, in C order, for one input (batch 1). */
typedef struct ee_tensor {
  size_t struct_size;
  int32_t dtype;        /* EE_FLOAT32, ... */
  int32_t rank;         /* number of sizes in `shape` */
  const int64_t *shape; /* with the batch of 1; NULL: the shape in the manifest, where all its sizes are fixed */
  const void *data;
  size_t size_bytes;    /* of `data` */
} ee_tensor;

/* Set an input. The data is checked and copied. It stays set for all further calls until it is set again; after a
 * failure the input is unset, so that no call uses an old value by mistake.
 * name: NULL where the model has one input. Errors: INPUT for a wrong name, type, size, or values that are not finite. */
EE_API ee_status ee_session_input(ee_session *session, const char *name, const ee_tensor *tensor, ee_error **error);

/* Raw pixels uint8 (height, width, channels). Where the bundle has a rule of resizing, the image may have any size, and be
 * grey, RGB, or either with an opaque alpha channel; otherwise it has exactly the model's size. */
typedef struct ee_image {
  size_t struct_size;
  const uint8_t *pixels;
  size_t size_bytes; /* of `pixels` */
  int32_t height;
  int32_t width;
  int32_t channels;
  int32_t row_bytes; /* from one row to the next; 0: rows follow each other */
} ee_image;

/* Set an input from an image, by the preprocessing of the bundle. Otherwise as ee_session_input. Where all inputs are
 * views of one picture, NULL sets all of them from it: the image is checked for all of them and copied, the first is made
 * now, and another one by the call that first reaches a component which reads it. */
EE_API ee_status ee_session_pixels(ee_session *session, const char *name, const ee_image *image, ee_error **error);

typedef struct ee_run_options {
  size_t struct_size;
  double deadline_ms; /* from the beginning of the call; 0: none. Sections that are not expected to finish in time do
                         not run; the first exit always does. */
  int32_t min_exit;   /* earliest exit to leave at; negative ones count from the end, so -1 is full depth */
  int32_t reserved;   /* 0 */
} ee_run_options;

typedef struct ee_result {
  size_t struct_size;
  int32_t exit;        /* index of the exit where the input left; the last one is the final exit */
  int32_t label_index; /* of the largest logit, the first if there are several */
  const char *label;   /* its name; lives as long as the session */
  const float *logits; /* of that exit; belong to the session, until its next call */
  size_t classes;      /* number of logits */
  double confidence;   /* at that exit, in [0, 1]; may be NaN where a graph returned it */
  double temperature;  /* of that exit: probabilities are softmax(logits / temperature) */
  double latency_ms;   /* of the call */
  uint64_t macs;       /* multiply-accumulate operations of all components that ran */
  int32_t gated;       /* 0: the deadline ended the call before any gate fired; the deepest exit reached answers */
  int32_t late;        /* 1: the call took longer than its deadline */
} ee_result;

/* Run the inputs that are set. It allocates no memory of its own, after the first call to reach each component, where
 * the manifest fixes every size; making a view of a picture takes memory for its pixels.
 *
 * options: NULL for defaults. result: is filled.
 * Errors: INPUT for an input that is not set; USAGE for a closed model, a wrong option, or a session that another
 * thread is using; BACKEND where a graph fails; and with lazy loading those of ee_model_open. */
EE_API ee_status ee_session_run(ee_session *session, const ee_run_options *options, ee_result *result,
                                ee_error **error);

#ifdef __cplusplus
}
#endif

#endif
