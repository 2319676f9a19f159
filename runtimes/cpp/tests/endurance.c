/* Open and close models, then run many calls, and compare the memory of the process: endurance BUNDLE MODELS CALLS
 *
 * The bundle takes pixels 4 x 4 x 1, as the small one of the tests. It prints one JSON object; the exit code is 1 where a
 * call fails, and 2 where memory grew by more than the limit between the half of the work and its end. */
#include <stdio.h>
#include <stdlib.h>

#include "eetool_runtime.h"

/* Engine and allocator round, and vary by 1 MB. A leak of 4 kB per model or 3 bytes per call is above, in a long run. */
#define MODELS_LIMIT_KB 4096
#define CALLS_LIMIT_KB 1024

/* Return the memory that the process allocated, in memory or swapped out. Pages of files come and go with the load. */
static long memory_kb(void) {
  char line[256];
  long anonymous = 0, swapped = 0;
  FILE *file = fopen("/proc/self/status", "r");
  if (file == NULL) return 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "RssAnon: %ld", &anonymous) != 1) (void)!sscanf(line, "VmSwap: %ld", &swapped);
  }
  fclose(file);
  return anonymous + swapped;
}

static void require(ee_status status, ee_error *error) {
  if (status == EE_OK) return;
  fprintf(stderr, "error: %s\n", ee_error_message(error));
  exit(1);
}

/* Run frames whose brightest row differs by 64, 32 or 8 levels, which leave at different exits. */
static void call(ee_session *session, long number, long exits[8]) {
  static const uint8_t contrasts[] = {64, 32, 8};
  uint8_t pixels[16];
  for (int i = 0; i < 16; ++i) pixels[i] = (uint8_t)(32 + (i / 4 == number % 4 ? contrasts[number % 3] : 0));
  const ee_image image = {.struct_size = sizeof image, .pixels = pixels, .size_bytes = sizeof pixels,
                          .height = 4, .width = 4, .channels = 1};
  const ee_run_options options = {.struct_size = sizeof options, .deadline_ms = number % 5 == 0 ? 1000 : 0};
  ee_result result = {.struct_size = sizeof result};
  ee_error *error = NULL;
  require(ee_session_pixels(session, NULL, &image, &error), error);
  require(ee_session_run(session, &options, &result, &error), error);
  ++exits[result.exit];
}

static void open_and_close(const char *path, long number, long exits[8]) {
  const ee_model_options options = {.struct_size = sizeof options, .threads = 1, .lazy = number % 2};
  ee_model *model = NULL;
  ee_session *session = NULL;
  ee_error *error = NULL;
  char *text = NULL;
  require(ee_model_open(path, &options, &model, &error), error);
  require(ee_session_new(model, &session, &error), error);
  call(session, number, exits);
  require(ee_model_stats_json(model, &text, &error), error);
  ee_free(text);
  if (ee_model_use(model, "no such point", NULL, &error) == EE_OK) exit(1);
  ee_error_free(error);
  ee_model_close(model); /* before its session, on purpose */
  ee_session_free(session);
}

int main(int argc, char **argv) {
  if (argc != 4) return 3;
  const long models = atol(argv[2]), calls = atol(argv[3]);
  long exits[8] = {0}, early_kb = 0;
  for (long i = 0; i < models; ++i) {
    open_and_close(argv[1], i, exits);
    if (i == models / 2) early_kb = memory_kb();
  }
  const long models_kb = memory_kb() - early_kb;
  const ee_model_options options = {.struct_size = sizeof options, .threads = 1};
  ee_model *model = NULL;
  ee_session *session = NULL;
  ee_error *error = NULL;
  require(ee_model_open(argv[1], &options, &model, &error), error);
  require(ee_session_new(model, &session, &error), error);
  for (long i = 0; i < calls; ++i) {
    call(session, i, exits);
    if (i == calls / 2) early_kb = memory_kb();
  }
  const long calls_kb = memory_kb() - early_kb;
  ee_session_free(session);
  ee_model_close(model);
  printf("{\"models\": %ld, \"calls\": %ld, \"exits\": [%ld, %ld, %ld], \"models_grew_kb\": %ld, \"calls_grew_kb\": %ld}\n",
         models, calls, exits[0], exits[1], exits[2], models_kb, calls_kb);
  return models_kb > MODELS_LIMIT_KB || calls_kb > CALLS_LIMIT_KB ? 2 : 0;
}
