"""Debian packages of the native runtime, and projects that use them by CMake and by pkg-config."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.native_build import SOURCE, build, onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import pixels, write_tiny_bundle

PAGE = Path(__file__).parents[2] / "docs/native.md"
LIBRARY, DEVELOPMENT = "libeetool-runtime1", "libeetool-runtime-dev"
PROJECT = """\
cmake_minimum_required(VERSION 3.18)
project(app LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(eetool_runtime 0.1 REQUIRED)
add_executable(app app.cpp)
target_link_libraries(app PRIVATE eetool::eetool_runtime)
"""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("cpack", "dpkg-deb", "dpkg-shlibdeps"))), reason="needs cpack and dpkg-dev"
)


def output_of(*command: object, cwd: Path | None = None) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def packages(native: Library, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the packages by name."""
    folder = tmp_path_factory.mktemp("packages")
    output_of("cpack", "-B", folder, cwd=build("all"))
    return {path.name.split("_")[0]: path for path in folder.glob("*.deb")}


@pytest.fixture(scope="module")
def usr(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `usr` of a folder into which the packages are unpacked."""
    root = tmp_path_factory.mktemp("root")
    for package in packages.values():
        output_of("dpkg-deb", "-x", package, root)
    return root / "usr"


def fields(package: Path) -> dict[str, str]:
    lines = output_of("dpkg-deb", "-f", package).splitlines()
    return dict(line.split(": ", 1) for line in lines if re.match(r"[A-Z]\S*: ", line))


def files(package: Path) -> set[str]:
    """Return the files with the folder of libraries of this architecture as LIB."""
    lines = output_of("dpkg-deb", "-c", package).splitlines()
    paths = {line.split(" -> ")[0].split("./")[1] for line in lines if not line.startswith("d")}
    return {re.sub(r"^usr/lib/[\w-]+-linux-gnu/", "LIB/", path) for path in paths}


def test_packages_hold_library_and_headers(packages: dict[str, Path]) -> None:
    assert set(packages) == {LIBRARY, DEVELOPMENT}
    assert files(packages[LIBRARY]) == {
        *("LIB/libeetool_runtime.so.1", "LIB/libeetool_runtime.so.1.0.0"),
        f"usr/share/doc/{LIBRARY}/copyright",
    }
    cmake = {f"LIB/cmake/eetool_runtime/eetool_runtime-config{end}.cmake" for end in ("", "-version", "-release")}
    assert files(packages[DEVELOPMENT]) == {
        *("usr/include/eetool_runtime.h", "usr/include/eetool_runtime.hpp", "usr/include/eetool_testing.h"),
        *("LIB/libeetool_runtime.so", "LIB/libeetool_testing.so", f"usr/share/doc/{DEVELOPMENT}/copyright", *cmake),
        *("LIB/pkgconfig/eetool_runtime.pc", "LIB/pkgconfig/eetool_testing.pc"),
    }


def test_packages_depend_on_what_the_library_needs(packages: dict[str, Path], usr: Path) -> None:
    library, development = fields(packages[LIBRARY]), fields(packages[DEVELOPMENT])
    here = output_of("dpkg", "--print-architecture").strip()
    assert (library["Architecture"], library["Section"], development["Section"]) == (here, "libs", "libdevel")
    assert development["Depends"] == f"{LIBRARY} (= {library['Version']})"
    depends = dict(re.findall(r"(\S+) \(>= ([\d.]+)", library["Depends"]))
    assert set(depends) == {"libc6", "libgcc-s1", "libstdc++6"}
    versions = output_of("readelf", "-V", next(usr.rglob("libeetool_runtime.so.1.0.0")))
    newest = max(tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", versions))
    assert tuple(map(int, depends["libc6"].split("."))) >= newest
    control = output_of("dpkg-deb", "-I", packages[LIBRARY], "shlibs")
    assert control.strip().startswith(f"libeetool_runtime 1 {LIBRARY}")
    assert "ldconfig" in output_of("dpkg-deb", "-I", packages[LIBRARY], "postinst")


def run(program: Path, usr: Path, folder: Path) -> str:
    (folder / "frame.pgm").write_bytes(b"P5\n4 4\n255\n" + pixels(1, 1.0).tobytes())
    library = next(usr.rglob("libeetool_runtime.so.1")).parent
    environment = {"LD_LIBRARY_PATH": str(library), "EETOOL_ONNXRUNTIME": str(onnxruntime_library())}
    command = [program, write_tiny_bundle(folder), folder / "frame.pgm"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout


def test_project_by_cmake_builds_and_runs(usr: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    shutil.copy(SOURCE / "examples/ee_run.cpp", tmp_path / "app.cpp")
    output_of("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={usr}")
    output_of("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build/app", usr, tmp_path).startswith("upper  exit 1  confidence 0.8910")


def test_app_is_tested_with_scripted_answers(usr: Path, tmp_path: Path) -> None:
    """The test of an app and the project on the page, built with the installed files alone, without an engine."""
    page = PAGE.read_text(encoding="utf-8").partition("## Testing your app")[2]
    program, project = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("c", "cmake"))
    strict = "enable_testing()\nadd_compile_options(-Wall -Wextra -Wpedantic -Werror)\n"
    start = "cmake_minimum_required(VERSION 3.18)\nproject(app LANGUAGES C)\n"
    (tmp_path / "CMakeLists.txt").write_text(start + strict + project)
    (tmp_path / "app_test.c").write_text(program)
    output_of("cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={usr}")
    output_of("cmake", "--build", tmp_path / "build")
    output_of("env", "-u", "EETOOL_ONNXRUNTIME", "ctest", "--test-dir", tmp_path / "build", "--output-on-failure")
    # The same program fails where its app would not drop the frame.
    (tmp_path / "app_test.c").write_text(program.replace(" || result.late", ""))
    output_of("cmake", "--build", tmp_path / "build")
    assert subprocess.run([tmp_path / "build/app_test"], check=False).returncode == 1


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="needs pkg-config")
def test_scripted_models_refuse_the_other_library_before_their_own(usr: Path, tmp_path: Path) -> None:
    folder = next(usr.rglob("eetool_testing.pc")).parent
    (tmp_path / "app.c").write_text(
        "#include <eetool_testing.h>\n#include <stdio.h>\n"
        "int main(void) {\n"
        '  const ee_testing_answer answer = {sizeof answer, "cat", 0, 0.9, 0};\n'
        "  const ee_testing_script script = {.struct_size = sizeof script, .answers = &answer, .answer_count = 1};\n"
        "  ee_model *model = NULL;\n  ee_error *error = NULL;\n"
        "  const ee_status status = ee_testing_model(&script, &model, &error);\n"
        "  if (status != EE_OK) puts(ee_error_message(error));\n"
        "  return status;\n}\n"
    )
    for packages, status in (("eetool_testing eetool_runtime", 0), ("eetool_runtime eetool_testing", 2)):
        flags = ["-Wl,--no-as-needed"]
        for name in packages.split():
            found = output_of("env", f"PKG_CONFIG_PATH={folder}", "pkg-config", "--cflags", "--libs", name)
            flags += found.split()
        output_of("cc", tmp_path / "app.c", "-o", tmp_path / "app", *flags)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder.parent)}
        ran = subprocess.run([tmp_path / "app"], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == status, ran
    assert re.match(r"the program takes ee_session_new and others from .*/libeetool_runtime\.so\.1", ran.stdout)


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="needs pkg-config")
def test_project_by_pkg_config_builds(usr: Path, tmp_path: Path) -> None:
    folder = next(usr.rglob("eetool_runtime.pc")).parent
    flags = output_of("env", f"PKG_CONFIG_PATH={folder}", "pkg-config", "--cflags", "--libs", "eetool_runtime")
    (tmp_path / "app.c").write_text(
        "#include <eetool_runtime.h>\nint main(void) { return ee_abi_version() >> 16 == EE_ABI_MAJOR ? 0 : 1; }\n"
    )
    output_of("cc", tmp_path / "app.c", "-o", tmp_path / "app", *flags.split())
    output_of("env", f"LD_LIBRARY_PATH={folder.parent}", tmp_path / "app")
