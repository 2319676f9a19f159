"""Bad calls of the native runtime: a status with a message each, of the kind that the Python runtime raises."""

import ctypes
import os
from collections.abc import Callable, Iterator
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from eetool_runtime.errors import BackendError, BundleError, EarlyExitError, InputError, UsageError
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Image, Library, ModelOptions, NativeModel, ResultStruct, TensorStruct
from tests.helpers.tiny_bundle import X, replace_file, write_tiny_bundle

NAN = np.full((1, 1, 4, 4), np.nan, np.float32)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


@pytest.fixture
def model(tiny: Path, native: Library) -> Iterator[NativeModel]:
    loaded = native.load(tiny, engine=onnxruntime_library())
    yield loaded
    loaded.close()


def tensor(**fields: Any) -> TensorStruct:
    data = np.zeros(16, np.float32)
    made = TensorStruct(ctypes.sizeof(TensorStruct), 1, 0, None, data.ctypes.data_as(c_void_p), data.nbytes)
    for name, value in fields.items():
        setattr(made, name, value)
    made.kept = data  # type: ignore[attr-defined]
    return made


def image(**fields: Any) -> Image:
    data = np.zeros(16, np.uint8)
    made = Image(ctypes.sizeof(Image), data.ctypes.data_as(c_void_p), data.nbytes, 4, 4, 1, 0)
    for name, value in fields.items():
        setattr(made, name, value)
    made.kept = data  # type: ignore[attr-defined]
    return made


# The function, its arguments after the session, and the expected error.
CALLS: dict[str, tuple[str, tuple[Any, ...], type[EarlyExitError], str]] = {
    "no tensor": ("ee_session_input", (None, None), UsageError, "tensor is NULL"),
    "no size of the structure": (
        *("ee_session_input", (None, byref(tensor(struct_size=0)))),
        *(UsageError, "struct_size is not set"),
    ),
    "no data": ("ee_session_input", (None, byref(tensor(data=None))), InputError, "expected 64 bytes .*, found NULL"),
    "short buffer": ("ee_session_input", (None, byref(tensor(size_bytes=60))), InputError, "found 60 bytes"),
    "unknown type": ("ee_session_input", (None, byref(tensor(dtype=77))), UsageError, "unknown dtype 77"),
    "other type": ("ee_session_input", (None, byref(tensor(dtype=2))), InputError, "expected float32, found int64"),
    "pixels as a tensor": ("ee_session_input", (None, byref(tensor(dtype=4))), InputError, "found uint8"),
    "unknown input": ("ee_session_input", (b"x\n", byref(tensor())), InputError, r"no input 'x\\x0a'; expected input"),
    "negative rank": (
        *("ee_session_input", (None, byref(tensor(rank=-1, shape=(ctypes.c_int64 * 1)(1))))),
        *(UsageError, "rank is -1"),
    ),
    "no image": ("ee_session_pixels", (None, None), UsageError, "image is NULL"),
    "no pixels": ("ee_session_pixels", (None, byref(image(pixels=None))), InputError, "16 bytes of pixels.*found NULL"),
    "short image": ("ee_session_pixels", (None, byref(image(size_bytes=15))), InputError, "found 15 bytes"),
    "other size": ("ee_session_pixels", (None, byref(image(height=5))), InputError, r"uint8 \(4, 4, 1\), found"),
    "narrow rows": ("ee_session_pixels", (None, byref(image(row_bytes=3))), InputError, "rows of at least 4"),
    "long rows": ("ee_session_pixels", (None, byref(image(row_bytes=2**31 - 1))), InputError, "found 16 bytes"),
    "negative rows": ("ee_session_pixels", (None, byref(image(row_bytes=-4))), UsageError, "row_bytes is -4"),
    "no result": ("ee_session_run", (None, None), UsageError, "result is NULL"),
    "result without its size": ("ee_session_run", (None, byref(ResultStruct(0))), UsageError, "struct_size is not set"),
}


@pytest.mark.parametrize("call", list(CALLS.values()), ids=list(CALLS))
def test_call_bad_argument_is_refused(model: NativeModel, call: tuple[Any, ...]) -> None:
    name, arguments, error, message = call
    model.set_input(None, X[:1])
    with pytest.raises(error, match=message):
        model.library.call(name, model.session, *arguments)
    assert model(X[:1]).exit == 2  # and it still works


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (NAN, "'input': holds NaN or infinite values"),
        (-np.inf * np.ones_like(NAN), "holds NaN or infinite values"),
        (X[:2], r"expected shape float32 \(batch, 1, 4, 4\), found float32 \(2, 1, 4, 4\)"),
        (X[0], r"found float32 \(1, 4, 4\)"),
        (X[:1, :, :, :3], r"found float32 \(1, 1, 4, 3\)"),
        (np.zeros((1,) * 40, np.float32), "found float32"),
    ],
    ids=["nan", "infinite", "batch", "rank", "size", "forty dimensions"],
)
def test_input_wrong_array_is_refused_and_unset(model: NativeModel, array: np.ndarray, message: str) -> None:
    model(X[:1])
    with pytest.raises(InputError, match=message):
        model.set_input(None, array)
    with pytest.raises(InputError, match="input 'input' is not set, or its last value was refused"):
        model.run()


def test_input_symbol_of_two_sizes_or_without_shape_is_refused(tmp_path: Path, native: Library) -> None:
    model = native.load(write_tiny_bundle(tmp_path, ids=True), engine=onnxruntime_library())
    with pytest.raises(InputError, match="the model has 2 inputs; name one of input, ids"):
        model.set_input(None, X[:1])
    data = np.ones(3, np.int64)
    given = tensor(dtype=2, data=data.ctypes.data_as(c_void_p), size_bytes=data.nbytes)
    with pytest.raises(InputError, match=r"int64 \(batch, tokens\) needs a shape"):
        model.library.call("ee_session_input", model.session, b"ids", byref(given))


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda m: m.use("turbo"), UsageError, "unknown operating point 'turbo'"),
        (lambda m: m.use(threshold=[0.5]), UsageError, "1 thresholds given; the model has 2 early exits"),
        (lambda m: m.use(threshold=2.5), UsageError, "threshold 2.5 is out of range"),
        (lambda m: m.use(threshold=float("nan")), UsageError, "threshold nan is out of range"),
        (lambda m: m.use("fast", watch=(0.7, 0.3)), UsageError, r"watch is \(0.7, 0.3\)"),
        (lambda m: m(X[:1], min_exit=3), UsageError, "min_exit is 3; this model has the exits 0 to 2"),
        (lambda m: m(X[:1], min_exit=-4), UsageError, "min_exit is -4"),
        (lambda m: m(X[:1], deadline_ms=-1.0), UsageError, "deadline_ms must be a positive number, not -1"),
        (lambda m: m(X[:1], deadline_ms=float("nan")), UsageError, "deadline_ms must be a positive number, not nan"),
        (lambda m: m(X[:1], deadline_ms=float("inf")), UsageError, "deadline_ms must be a positive number, not inf"),
    ],
)
def test_use_and_run_bad_option_is_refused(
    model: NativeModel, use: Callable[[NativeModel], object], error: type[EarlyExitError], message: str
) -> None:
    with pytest.raises(error, match=message):
        use(model)
    assert model.info["operating_point"] == "balanced"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": Path("/no/lib.so")}, BackendError, "cannot be loaded: /no/lib.so"),
        ({"engine": Path("libm.so.6")}, BackendError, "libm.so.6 is not ONNX Runtime"),
        ({"variant": "onnx/int8"}, UsageError, "tiny.eebundle has no variant 'onnx/int8'"),
        ({"variant": "onnx/fp32", "backend": "tflite"}, UsageError, "does not run the variant 'onnx/fp32'"),
        ({"backend": "tflite"}, UsageError, "no variant for backend 'tflite'"),
        ({"threads": -1}, UsageError, "threads must be at least 1, not -1"),
        ({"threads": 1025}, UsageError, "threads must be at most 1024, not 1025"),
    ],
)
def test_load_bad_option_is_refused(
    tiny: Path, native: Library, options: dict[str, Any], error: type[EarlyExitError], message: str
) -> None:
    with pytest.raises(error, match=message):
        native.load(tiny, **{"engine": onnxruntime_library(), **options})


def test_load_not_a_bundle_is_refused(tmp_path: Path, native: Library) -> None:
    with pytest.raises(BundleError, match="nowhere: does not exist"):
        native.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="file: is not a directory"):
        native.load(tmp_path / "file")
    for arguments in ((None, None, byref(c_void_p())), (b"x", None, None)):
        with pytest.raises(UsageError, match="is NULL"):
            native.call("ee_model_open", *arguments)
    options = ModelOptions(ctypes.sizeof(ModelOptions), None, None, None, 0, 7, 0)
    with pytest.raises(UsageError, match="unknown pool 7"):
        native.call("ee_model_open", b"x", byref(options), byref(c_void_p()))


def edited(tmp_path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Return a tiny bundle whose first graph was changed, with matching hashes."""
    path = write_tiny_bundle(tmp_path)
    name = "components/seg0/onnx-fp32/model.onnx"
    graph = onnx.load(path / name)
    change(graph)
    replace_file(path, name, graph.SerializeToString())
    return path


def refer_outside(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.node[0].attribute[0].t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (refer_outside, BackendError, "its weights lie in another file"),
        (lambda g: g.graph.input[0].type.tensor_type.shape.dim[2].Clear(), None, ""),
        (lambda g: setattr(g.graph.input[0], "name", "x"), BackendError, "cannot load this graph"),
        (lambda g: g.graph.node.pop(), BackendError, "cannot load this graph"),
        (lambda g: g.graph.output.append(g.graph.output[0]), (BundleError, BackendError), "seg0"),
    ],
    ids=["side file", "free size", "other input", "no output", "output twice"],
)
def test_load_graph_that_differs_is_refused(
    tmp_path: Path, native: Library, change: Callable[[Any], object], error: Any, message: str
) -> None:
    path = edited(tmp_path, change)
    if error is None:
        assert native.load(path, engine=onnxruntime_library())(X[:1]).exit == 2
        return
    with pytest.raises(error, match=message):
        native.load(path, engine=onnxruntime_library())


def test_closed_model_and_freed_session_are_refused(tiny: Path, native: Library) -> None:
    model = native.load(tiny, engine=onnxruntime_library())
    model(X[:1])
    model.close()
    model.close()  # ignored
    with pytest.raises(UsageError, match="the model was closed"):
        model.run()
    with pytest.raises(UsageError, match="the model was closed, or is none"):
        _ = model.info
    with pytest.raises(UsageError, match="the model was closed, or is none"):
        native.call("ee_session_new", model.handle, byref(c_void_p()))
    native.functions.ee_session_free(model.session)
    with pytest.raises(UsageError, match="the session was closed, or is none"):
        model.run()
    with pytest.raises(UsageError, match="the session is NULL"):
        native.call("ee_session_run", None, None, byref(ResultStruct(ctypes.sizeof(ResultStruct))))
    for name in ("ee_model_close", "ee_session_free", "ee_error_free", "ee_free"):
        getattr(native.functions, name)(None)


def test_run_older_header_fills_what_it_knows(model: NativeModel) -> None:
    """A caller built with a header whose result ended after the confidence."""
    model.set_input(None, X[:1])
    result = ResultStruct(ResultStruct.temperature.offset, temperature=77.0, macs=77)
    model.library.call("ee_session_run", model.session, None, byref(result))
    assert (result.exit, result.temperature, result.macs) == (2, 77.0, 77)


@pytest.mark.filterwarnings("ignore:os.fork")  # of libraries with threads that other tests have loaded
def test_forked_child_is_refused(model: NativeModel) -> None:
    model(X[:1])
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # no assertion here: pytest must not go on in the child
        try:
            model.run()
            answer = "it ran"
        except BackendError as error:
            answer = error.message
        model.close()
        os.write(writing, answer.encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 1000).decode() == (
        "this model was loaded before this process was forked; a forked child cannot use it"
    )
    for end in (reading, writing):
        os.close(end)
    assert model(X[:1]).exit == 2
