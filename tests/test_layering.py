"""Import rules: where packages may be imported, the order of layers, no circles, and sizes of files and functions."""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNTIME, MEASURE = "runtimes/python/eetool_runtime/", "runtimes/measure/eetool_measure/"
PREFIXES = ("runtimes/python/", "runtimes/measure/")
PACKAGES = (ROOT / "eetool", ROOT / RUNTIME, ROOT / MEASURE)
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

# A package of eetool may import those of earlier lines, and no other of its own line.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "eetool",
        "accuracy_difference",
        "atomic_rename",
        "errors",
        "names",
        "printable_text",
        "progress",
        "targets",
        "wording",
    ),  # `eetool` is the root's __init__.py
    ("child_progress", "free_memory", "workspace"),
    ("records",),
    ("artefact_kinds", "metrics", "graphs"),
    ("model",),
    ("data",),
    ("latency",),
    ("tune", "train"),
    ("export",),
    ("profile", "search", "bench", "microcontroller"),
    ("advise",),
    ("report",),
    ("api",),
    ("cli",),
    ("__main__",),
)
WITH_TORCH = ("data", "model", "tune", "train", "export", "search", "advise", "api")
BACKENDS = f"{RUNTIME}backends/"
# Where each package may be imported; a package that is not listed, such as numpy, may be imported anywhere.
PLACES: dict[str, tuple[str, ...]] = {
    "torch": tuple(f"eetool/{package}/" for package in WITH_TORCH),
    "onnx": tuple(f"eetool/{package}/" for package in ("graphs", "latency", "export")),
    "onnxruntime": (BACKENDS, "eetool/graphs/quantize.py", f"{MEASURE}kernel_trace.py"),
    "ai_edge_litert": (BACKENDS,),
    "tflite_runtime": (BACKENDS,),
    "tflite_micro": (BACKENDS, *(f"eetool/microcontroller/arena_{part}.py" for part in ("measurement", "trial"))),
    "click": ("eetool/cli/",),
    "rich": ("eetool/cli/",),
    "eetool": ("eetool/",),
    "eetool_measure": ("eetool/", MEASURE),
    **dict.fromkeys(("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"), ()),
}

Sources = Mapping[str, str]  # path from the repository root -> text
Graph = Mapping[str, set[str]]


def read_sources() -> dict[str, str]:
    paths = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


SOURCES = read_sources()


def module_name(path: str) -> str:
    """`eetool/data/splits.py` -> `eetool.data.splits`, `eetool/data/__init__.py` -> `eetool.data`."""
    for prefix in PREFIXES:
        path = path.removeprefix(prefix)
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_names(path: str, tree: ast.AST) -> Iterator[str]:
    """Dotted names of every import, also of those inside functions; `from a import b` gives `a.b`."""
    package = module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def without_functions(tree: ast.Module) -> ast.Module:
    """The statements that run on import: no function bodies, and no imports for type checkers."""

    class Pruned(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
            return ast.Pass()

        def visit_If(self, node: ast.If) -> ast.AST:
            return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    pruned: ast.Module = Pruned().visit(tree)
    return pruned


def import_graph(sources: Sources, prepare: Callable[[ast.Module], ast.Module] = lambda tree: tree) -> Graph:
    """Modules, and the modules and foreign packages that each of them imports."""
    modules = {module_name(path) for path in sources}
    graph: dict[str, set[str]] = {}
    for path, source in sources.items():
        module, edges = module_name(path), set()
        # The names of the Python API are imported when they are used; type checkers read where they are.
        tree = without_functions(ast.parse(source)) if path == "eetool/__init__.py" else prepare(ast.parse(source))
        for name in imported_names(path, tree):
            owner = name if name in modules else name.rpartition(".")[0]
            edges.add(owner if owner in modules else name.partition(".")[0])
        graph[module] = edges - {module}
    return graph


def test_imports_of_eetool_exist() -> None:
    """Every module that is imported exists, also inside functions; the type checker does not tell."""
    modules = {module_name(path) for path in SOURCES}
    known = modules | {module.rpartition(".")[0] for module in modules}
    absent = [
        (path, name)
        for path, source in SOURCES.items()
        for name in imported_names(path, ast.parse(source))
        if name.partition(".")[0] in ("eetool", "eetool_runtime", "eetool_measure")
        and name not in known
        and name.rpartition(".")[0] not in known
    ]
    assert absent == []


def package_of(module: str) -> str:
    """`eetool.data.splits` -> `data`; a package outside eetool is its first name."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "eetool" and rest else first


def package_graph(graph: Graph) -> Graph:
    packages: dict[str, set[str]] = {}
    for module, edges in graph.items():
        package = package_of(module)
        packages.setdefault(package, set()).update({package_of(edge) for edge in edges} - {package})
    return packages


def reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for edge in graph.get(waiting.pop(), set()) - seen:
            seen.add(edge)
            waiting.append(edge)
    return seen


def circles(graph: Graph) -> list[str]:
    """Nodes that reach themselves."""
    return sorted(node for node in graph if node in reachable(graph, node))


def layer_violations(graph: Graph) -> list[str]:
    rank = {package: index for index, layer in enumerate(LAYERS) for package in layer}
    lines = []
    for module, edges in graph.items():
        package = package_of(module)
        for edge in sorted(edges):
            target = package_of(edge)
            if edge.partition(".")[0] != "eetool" or module.partition(".")[0] != "eetool" or target == package:
                continue
            if package not in rank or target not in rank or rank[target] >= rank[package]:
                lines.append(f"{module} imports {edge}")
    return lines


def place_violations(path: str, source: str) -> list[str]:
    return [
        f"{path} imports {name}"
        for name in imported_names(path, ast.parse(source))
        for package, places in PLACES.items()
        if f"{name}.".startswith(f"{package}.") and not path.startswith(places)
    ]


def torch_violations(sources: Sources) -> list[str]:
    """Modules of packages without torch that import it by way of others as soon as they are imported."""
    graph = import_graph(sources, without_functions)
    torch_free = [module for module in graph if package_of(module) not in WITH_TORCH]
    return [module for module in torch_free if "torch" in reachable(graph, module)]


def init_violations(sources: Sources) -> list[str]:
    """Packages whose `__init__.py` holds no docstring, or anything else beside it."""
    return [
        path
        for path, source in sources.items()
        if path.startswith("eetool/") and path.endswith("/__init__.py") and path != "eetool/__init__.py"
        if len(ast.parse(source).body) != 1 or not ast.get_docstring(ast.parse(source))
    ]


def docstring_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a docstring, which a function with many documented arguments needs."""
    text = function.body[0]
    return (text.end_lineno or 0) - text.lineno + 1 if ast.get_docstring(function, clean=False) else 0


def size_violations(path: str, source: str) -> list[str]:
    lines = [path] if source.count("\n") > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
            lines += [f"{path}: {node.name} has {length} lines"] if length > MAX_FUNCTION_LINES else []
    return lines


GRAPH = import_graph(SOURCES)


def test_imports_of_sources_are_in_their_places() -> None:
    assert [line for path, source in SOURCES.items() for line in place_violations(path, source)] == []


def test_import_graph_of_modules_has_no_circle() -> None:
    assert circles(GRAPH) == []


def test_import_graph_of_packages_has_no_circle() -> None:
    assert circles(package_graph(GRAPH)) == []


def test_imports_of_packages_follow_the_layers() -> None:
    assert layer_violations(GRAPH) == []


def test_imports_of_packages_without_torch_do_not_reach_it() -> None:
    assert torch_violations(SOURCES) == []


def test_package_init_files_hold_a_docstring_only() -> None:
    assert init_violations(SOURCES) == []


def test_sizes_of_files_and_functions_are_within_limits() -> None:
    assert [line for path, source in SOURCES.items() for line in size_violations(path, source)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("eetool/profile/profiler.py", "import torch"),
        ("eetool/cli/commands/train.py", "def f():\n    from torch import nn"),
        ("eetool/export/bundle_export.py", "import click.core"),
        ("eetool/model/checkpoint.py", "import pickle as p"),
        ("eetool/search/search.py", "import onnx.helper"),
        ("runtimes/python/eetool_runtime/model.py", "import onnxruntime"),
        ("runtimes/python/eetool_runtime/model.py", "from eetool_measure.timing import latency"),
        ("runtimes/python/eetool_runtime/backends/onnx.py", "from eetool.errors import ArtefactError"),
    ],
)
def test_place_violations_planted_import_is_reported(path: str, source: str) -> None:
    assert place_violations(path, source) != []


@pytest.mark.parametrize(
    "source",
    [
        "from eetool.data import b",
        "import eetool.data.b",
        "def f():\n    from eetool.data.b import x",
        "from . import b",
    ],
)
def test_circles_planted_circle_of_files_is_reported(source: str) -> None:
    planted = {
        "eetool/data/__init__.py": "",
        "eetool/data/a.py": source,
        "eetool/data/b.py": "from .c import y",
        "eetool/data/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from eetool.data.a import z",
    }
    assert circles(import_graph(planted)) == ["eetool.data.a", "eetool.data.b", "eetool.data.c"]


def test_circles_planted_circle_of_packages_is_reported() -> None:
    planted = {
        "eetool/data/a.py": "import eetool.model.a",
        "eetool/model/a.py": "",
        "eetool/model/b.py": "from eetool.latency.table import table",
        "eetool/latency/table/table.py": "def f():\n    from eetool.data.b import x",
        "eetool/data/b.py": "import numpy",
    }
    graph = import_graph(planted)
    assert circles(graph) == []
    assert circles(package_graph(graph)) == ["data", "latency", "model"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("eetool/model/checkpoint.py", "from eetool.data.source import Source"),
        ("eetool/errors.py", "from eetool.records import read_text"),
        ("eetool/graphs/onnx_graph.py", "def f():\n    from eetool.metrics import auroc"),
        ("eetool/tune/device_costs.py", "import eetool.profile.profiler"),
        ("eetool/bench/interleaved_timing.py", "from eetool.cli import output"),
        ("eetool/new_package/module.py", "from eetool.errors import UsageError"),
    ],
)
def test_layer_violations_planted_import_is_reported(path: str, source: str) -> None:
    graph = import_graph({**dict.fromkeys(SOURCES, ""), path: source})
    assert [line.partition(" imports eetool.")[0] for line in layer_violations(graph)] == [module_name(path)]


def test_torch_violations_planted_indirect_import_is_reported() -> None:
    planted = {
        "eetool/profile/a.py": "from eetool.data import b",
        "eetool/data/b.py": "import torch.nn",
        "eetool/bench/c.py": "def f():\n    from eetool.data import b",
    }
    assert torch_violations(planted) == ["eetool.profile.a"]


@pytest.mark.parametrize("source", ["", "import torch", '"""Docs."""\nX = 1'])
def test_init_violations_planted_logic_or_no_docstring_is_reported(source: str) -> None:
    assert init_violations({"eetool/data/__init__.py": source, "eetool/model/__init__.py": '"""Docs."""'}) == [
        "eetool/data/__init__.py"
    ]


def test_size_violations_planted_long_file_and_function_are_reported() -> None:
    assert size_violations("a.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES) != []
    assert size_violations("a.py", 'def f():\n    """' + "a\n" * MAX_FUNCTION_LINES + '"""\n    x = 1\n') == []
    assert size_violations("a.py", "x = 1\n" * (MAX_FILE_LINES + 1)) != []
    assert size_violations("a.py", "x = 1\n" * MAX_FILE_LINES) == []


def foreign_packages(path: str, source: str) -> set[str]:
    return {name.split(".")[0] for name in imported_names(path, ast.parse(source))} - sys.stdlib_module_names


def test_runtime_imports_numpy_only() -> None:
    extras = {
        "image": ({"PIL"}, ("image_files", "pixel_conversion")),
        "offload": ({"grpc", "google"}, ("offload/grpc_client", "offload/inference_messages")),
        "kserve": ({"kserve"}, ("contrib/kserve",)),
        "mlserver": ({"mlserver"}, ("contrib/mlserver",)),
        "metrics": ({"prometheus_client"}, ("contrib/metrics",)),
    }
    allowed = {f"{RUNTIME}{name}.py": packages for packages, names in extras.values() for name in names}
    for path, source in SOURCES.items():
        if path.startswith(RUNTIME) and not path.startswith(BACKENDS):
            assert foreign_packages(path, source) <= {"numpy", "eetool_runtime", *allowed.get(path, ())}, path
    at_once = import_graph(SOURCES, without_functions)
    start = {module for module in at_once if package_of(module) == "eetool_runtime"} - {
        module_name(path) for path in allowed
    }
    foreign = set().union(*(packages for packages, _ in extras.values()))
    assert not [module for module in start if reachable(at_once, module) & foreign]


def test_runtime_without_a_server_imports_nothing_of_offloading() -> None:
    at_once = import_graph(SOURCES, without_functions)
    assert not [m for m in reachable(at_once, "eetool_runtime") if m.startswith("eetool_runtime.offload.")]


def test_measure_imports_numpy_and_runtime_only() -> None:
    for path, source in SOURCES.items():
        if path.startswith(MEASURE) and not path.endswith("kernel_trace.py"):
            assert foreign_packages(path, source) <= {"numpy", "eetool_runtime", "eetool_measure"}, path


def test_sources_call_neither_print_nor_eval_nor_exec() -> None:
    for path, source in SOURCES.items():
        names = {
            node.func.id
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not names & {"print", "eval", "exec"}, path
