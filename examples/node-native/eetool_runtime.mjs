// The native runtime for Node.js: the C interface of eetool_runtime.h through koffi.
//
//   const model = new Model("model.eebundle");
//   const session = new Session(model);
//   session.pixels(frame, height, width, 3); // a Uint8Array
//   const { label, exit } = session.run({ deadlineMs: 12 });
import koffi from "koffi";

// The path of the library, or its name where the system finds libraries.
const library = koffi.load(process.env.EETOOL_RUNTIME ?? "libeetool_runtime.so.1");

koffi.opaque("ee_model");
koffi.opaque("ee_session");
koffi.opaque("ee_error");
const modelOptions = koffi.struct("ee_model_options", {
  struct_size: "size_t",
  variant: "const char *",
  format: "const char *",
  engine: "const char *",
  threads: "int32_t",
  pool: "int32_t",
  lazy: "int32_t",
});
const image = koffi.struct("ee_image", {
  struct_size: "size_t",
  pixels: "uint8_t *",
  size_bytes: "size_t",
  height: "int32_t",
  width: "int32_t",
  channels: "int32_t",
  row_bytes: "int32_t",
});
const runOptions = koffi.struct("ee_run_options", {
  struct_size: "size_t",
  deadline_ms: "double",
  min_exit: "int32_t",
  reserved: "int32_t",
});
const result = koffi.struct("ee_result", {
  struct_size: "size_t",
  exit: "int32_t",
  label_index: "int32_t",
  label: "const char *",
  logits: "const float *",
  classes: "size_t",
  confidence: "double",
  temperature: "double",
  latency_ms: "double",
  macs: "uint64_t",
  gated: "int32_t",
  late: "int32_t",
});

const c = {};
for (const declaration of [
  "uint32_t ee_abi_version()",
  "const char *ee_error_message(ee_error *error)",
  "const char *ee_error_hint(ee_error *error)",
  "void ee_error_free(ee_error *error)",
  "void ee_free(void *text)",
  "int32_t ee_model_open(const char *path, ee_model_options *options, _Out_ ee_model **model, _Out_ ee_error **error)",
  "void ee_model_close(ee_model *model)",
  "int32_t ee_model_use(ee_model *model, const char *point, void *watch, _Out_ ee_error **error)",
  "int32_t ee_model_stats_json(ee_model *model, _Out_ void **text, _Out_ ee_error **error)",
  "int32_t ee_session_new(ee_model *model, _Out_ ee_session **session, _Out_ ee_error **error)",
  "void ee_session_free(ee_session *session)",
  "int32_t ee_session_pixels(ee_session *session, const char *name, ee_image *image, _Out_ ee_error **error)",
  "int32_t ee_session_run(ee_session *session, ee_run_options *options, _Inout_ ee_result *result, _Out_ ee_error **error)",
]) {
  const name = declaration.match(/(ee_\w+)\(/)[1];
  c[name] = library.func(declaration);
}
if (c.ee_abi_version() >> 16 !== 1) throw new Error("this file is for version 1 of the native runtime's interface");

// What a function of the C interface refused; `status` is one of the EE_ERROR_* numbers.
export class NativeError extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

function call(name, ...given) {
  const error = [null];
  const status = c[name](...given, error);
  if (status === 0) return;
  const refused = new NativeError(status, c.ee_error_message(error[0]), c.ee_error_hint(error[0]));
  c.ee_error_free(error[0]);
  throw refused;
}

export class Model {
  constructor(path, { threads = 0 } = {}) {
    const handle = [null];
    const options = { struct_size: koffi.sizeof(modelOptions), threads, pool: 0, lazy: 0 };
    call("ee_model_open", path, { variant: null, format: null, engine: null, ...options }, handle);
    this.handle = handle[0];
  }

  use(operatingPoint) {
    call("ee_model_use", this.handle, operatingPoint, null);
  }

  stats() {
    const text = [null];
    call("ee_model_stats_json", this.handle, text);
    const stats = JSON.parse(koffi.decode(text[0], "char", -1));
    c.ee_free(text[0]);
    return stats;
  }

  close() {
    c.ee_model_close(this.handle);
  }
}

export class Session {
  constructor(model) {
    const handle = [null];
    call("ee_session_new", model.handle, handle);
    this.handle = handle[0];
  }

  // Set the only input from pixels (height, width, channels).
  pixels(bytes, height, width, channels) {
    const size = { struct_size: koffi.sizeof(image), size_bytes: bytes.length };
    call("ee_session_pixels", this.handle, null, { ...size, pixels: bytes, height, width, channels, row_bytes: 0 });
  }

  run({ deadlineMs = 0, minExit = 0 } = {}) {
    const options = { struct_size: koffi.sizeof(runOptions), deadline_ms: deadlineMs, min_exit: minExit, reserved: 0 };
    const raw = { struct_size: koffi.sizeof(result) };
    call("ee_session_run", this.handle, options, raw);
    return {
      exit: raw.exit,
      label: raw.label,
      confidence: raw.confidence,
      logits: koffi.decode(raw.logits, koffi.array("float", Number(raw.classes))),
      latencyMs: raw.latency_ms,
      gated: raw.gated !== 0,
      late: raw.late !== 0,
    };
  }

  free() {
    c.ee_session_free(this.handle);
  }
}
