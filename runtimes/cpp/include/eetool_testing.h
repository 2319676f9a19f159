/* Models with scripted answers, for tests of apps: they need no engine, no bundle and no file. Gates, deadlines, operating
 * points and statistics are the real ones.
 *
 *   const ee_testing_answer answers[] = {{sizeof(ee_testing_answer), "cat", 0, 0.95, 4.0}};
 *   const ee_testing_script script = {.struct_size = sizeof script, .answers = answers, .answer_count = 1};
 *   if (ee_testing_model(&script, &model, &error) != EE_OK) ...
 *
 * Link a test with libeetool_testing in place of libeetool_runtime: it holds every function of eetool_runtime.h as well.
 * Where the app under test brings libeetool_runtime along, libeetool_testing goes before it. It is for tests alone. The rules
 * of eetool_runtime.h hold here too.
 */
#ifndef EETOOL_TESTING_H
#define EETOOL_TESTING_H

#include "eetool_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One answer. An input leaves at `exit` where `confidence` reaches the threshold there, else deeper. The logits are 5 for
 * the label and 0 for the others. */
typedef struct ee_testing_answer {
  size_t struct_size; /* the same in all answers of a script */
  const char *label;
  int32_t exit;       /* first exit with this confidence; the confidence of earlier exits is 0 */
  double confidence;  /* 0 to 1 */
  double section_ms;  /* how long the way to the first exit takes, and each way from one exit to the next; 0 to 1e9 */
} ee_testing_answer;

typedef struct ee_testing_script {
  size_t struct_size;
  const ee_testing_answer *answers; /* given in turn, again and again; calls of several threads each get their own */
  size_t answer_count;        /* 1 to 2^24 */
  const char *const *labels;  /* NULL: those of the answers, in the order in which they first appear */
  size_t label_count;
  const int64_t *input_shape; /* of the only input, "input", float32, without the batch; NULL: 3, 32, 32. An input of three
                                 sizes, (channels, height, width), also takes pixels, which are divided by 255 */
  int32_t input_rank;         /* number of sizes in `input_shape` */
  int32_t early_exits;        /* 1 to 100; 0: 2 */
} ee_testing_script;

/* Make a model that gives the answers of a script. All functions of eetool_runtime.h take it.
 *
 * Its operating points have one threshold for all early exits: 0.8 ("balanced", in use at first), 0.6 ("fast") or none
 * ("full"). Its time is scripted: it moves by `section_ms` alone, in every thread on its own, so that deadlines are met or
 * missed whatever the machine does, and nothing waits.
 *
 * script: copied, with all that it points to. model: receives the object, to be closed with ee_model_close.
 * Errors: USAGE for a script without answers, with a label or exit that the model does not have, or numbers out of range;
 * and where libeetool_runtime comes before this library. */
EE_API ee_status ee_testing_model(const ee_testing_script *script, ee_model **model, ee_error **error);

#ifdef __cplusplus
}
#endif

#endif
