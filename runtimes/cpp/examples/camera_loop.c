/* Classify frames of a camera, each within its time: camera-loop BUNDLE WIDTH HEIGHT CHANNELS FRAMES_PER_SECOND
 *
 * Frames are raw pixels on the standard input, for example
 *   ffmpeg -f v4l2 -i /dev/video0 -f rawvideo -pix_fmt rgb24 - | camera-loop model.eebundle 640 480 3 30
 * Sizes other than the model's need a bundle with a rule of resizing. A frame has the time of one period: at its end the
 * deepest exit that was reached answers. */
#include <stdio.h>
#include <stdlib.h>

#include "eetool_runtime.h"

#define SHARE_FOR_THE_MODEL 0.8 /* of a period; the rest is for reading and for the app */

static int fail(ee_error *error) {
  const char *hint = ee_error_hint(error);
  fprintf(stderr, "error: %s\n%s%s", ee_error_message(error), hint ? hint : "", hint ? "\n" : "");
  ee_error_free(error);
  return 3;
}

static int classify_frames(ee_session *session, ee_image image, uint8_t *frame, double deadline_ms) {
  const ee_run_options options = {.struct_size = sizeof options, .deadline_ms = deadline_ms};
  ee_error *error = NULL;
  long number = 0;
  size_t count;
  while ((count = fread(frame, 1, image.size_bytes, stdin)) == image.size_bytes) {
    ee_result result = {.struct_size = sizeof result};
    if (ee_session_pixels(session, NULL, &image, &error) != EE_OK ||
        ee_session_run(session, &options, &result, &error) != EE_OK) {
      return fail(error);
    }
    printf("%ld %s exit %d confidence %.3f%s%s\n", number++, result.label, (int)result.exit, result.confidence,
           result.gated ? "" : " ended by the deadline", result.late ? " late" : "");
    fflush(stdout);
  }
  if (count > 0) fprintf(stderr, "the last frame has %zu bytes of %zu\n", count, image.size_bytes);
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 6 || atoi(argv[2]) < 1 || atoi(argv[3]) < 1 || atoi(argv[4]) < 1 || !(atof(argv[5]) > 0)) {
    fprintf(stderr, "usage: camera-loop BUNDLE WIDTH HEIGHT CHANNELS FRAMES_PER_SECOND < frames\n");
    return 2;
  }
  ee_image image = {.struct_size = sizeof image, .width = atoi(argv[2]), .height = atoi(argv[3]),
                    .channels = atoi(argv[4])};
  image.size_bytes = (size_t)image.height * (size_t)image.width * (size_t)image.channels;
  uint8_t *frame = malloc(image.size_bytes);
  image.pixels = frame;
  ee_model *model = NULL;
  ee_session *session = NULL;
  ee_error *error = NULL;
  char *stats = NULL;
  int code = 0;
  if (frame == NULL || ee_model_open(argv[1], NULL, &model, &error) != EE_OK ||
      ee_session_new(model, &session, &error) != EE_OK) {
    code = frame == NULL ? 1 : fail(error);
  } else {
    code = classify_frames(session, image, frame, SHARE_FOR_THE_MODEL * 1000 / atof(argv[5]));
    if (ee_model_stats_json(model, &stats, NULL) == EE_OK) fprintf(stderr, "%s\n", stats);
  }
  ee_free(stats);
  ee_session_free(session);
  ee_model_close(model);
  free(frame);
  return code;
}
