"""What an editable install runs at import: nothing where nothing changed, else ninja or advice."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not TOOLS.is_dir(), reason="needs a checkout and a POSIX shell"
)


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path):
    """A small source tree, its build folder, and tools that note that they were called."""
    kernels = tmp_path / "src" / "tilewise" / "kernels"
    kernels.mkdir(parents=True)
    for name in ("_near.pyx", "_rows.pxd", "meson.build"):
        (kernels / name).write_text("before")
    (tmp_path / "src" / "tilewise" / "__init__.py").write_text("")
    (tmp_path / "meson.build").write_text("before")
    (tmp_path / "tools").mkdir()
    shutil.copy(TOOLS / "rebuild.py", tmp_path / "tools")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "build.ninja").write_text("rules")
    log = tmp_path / "log"
    program(
        tmp_path / "bin" / "ninja",
        f'echo "ninja $@" >> {log}; which cython >> {log}; test -e {tmp_path}/broken && exit 3; '
        f"touch near.so",
    )
    program(tmp_path / "bin" / "cython", "exit 0")
    program(tmp_path / "bin" / "meson", "exit 0")
    return tmp_path


def rebuild(project, *arguments, path=None, **variables):
    """Run the script as the import hook does; return what it was and the calls that it made."""
    log = project / "log"
    log.unlink(missing_ok=True)
    folders = [path] if path else []
    environment = {"PATH": os.pathsep.join([*folders, "/usr/bin", "/bin"]), **variables}
    done = subprocess.run(
        [sys.executable, project / "tools" / "rebuild.py", *arguments],
        cwd=project / "build", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def built(project):
    tools = project / "bin"
    done, calls = rebuild(project, path=str(tools), TILEWISE_NINJA=str(tools / "ninja"))
    assert done.returncode == 0, done.stderr
    assert calls == ["ninja ", str(tools / "cython")]
    return project


def lose_tools(project):
    (project / "bin").rename(project / "gone")


def change(project, name="src/tilewise/kernels/_near.pyx"):
    (project / name).write_text("after")


@pytest.mark.parametrize("arguments", [(), ("-n",)])
def test_unchanged_sources_need_no_tools(built, arguments):
    lose_tools(built)
    done, calls = rebuild(built, *arguments)
    assert (done.returncode, calls) == (0, [])
    assert "ninja: no work to do." in done.stdout


def test_files_that_are_only_touched_are_unchanged(built):
    lose_tools(built)
    change(built)
    (built / "src/tilewise/kernels/_near.pyx").write_text("before")
    os.utime(built / "meson.build")
    (built / "src/tilewise/__init__.py").write_text("Python files are read where they are")
    assert rebuild(built)[0].returncode == 0


@pytest.mark.parametrize(
    "name", ["src/tilewise/kernels/_near.pyx", "meson.build", "src/tilewise/kernels/new.h"]
)
def test_changed_sources_without_tools_say_what_to_type(built, name):
    lose_tools(built)
    change(built, name)
    # No Cython on the path: the machine that runs this may have one.
    done, calls = rebuild(built, PATH=str(built / "nowhere"))
    assert (done.returncode, calls) == (1, [])
    assert name in done.stderr
    assert "pip install --editable ." in done.stderr
    assert "cython" in done.stderr


def test_changed_sources_are_compiled_where_the_tools_stayed(built):
    change(built)
    done, calls = rebuild(built)  # not on the path: found where the build had them
    assert (done.returncode, calls) == (0, ["ninja ", str(built / "bin" / "cython")])
    assert rebuild(built)[1] == []


def test_tools_that_were_installed_later_are_found(project):
    tools, scripts = project / "bin", project / "environment" / "bin"
    given = {"TILEWISE_NINJA": str(tools / "ninja"), "TILEWISE_SCRIPTS": str(scripts)}
    assert rebuild(project, path=str(tools), **given)[0].returncode == 0
    shutil.move(tools, scripts)
    change(project)
    done, calls = rebuild(project)
    assert (done.returncode, calls) == (0, ["ninja ", str(scripts / "cython")])


def test_meson_that_is_gone_is_missed_where_it_would_be_called(built):
    other = built / "other" / "meson"
    record = built / "build" / "tilewise-sources.json"
    values = json.loads(record.read_text())
    record.write_text(json.dumps(values | {"meson": str(other)}))
    change(built, "meson.build")
    done, calls = rebuild(built)
    assert (done.returncode, calls) == (1, [])
    assert "has no meson" in done.stderr
    (built / "meson.build").write_text("before")
    change(built)
    assert rebuild(built)[0].returncode == 0


def test_new_python_files_are_listed_anew(built):
    (built / "src/tilewise/new.py").write_text("")
    done, calls = rebuild(built)
    assert done.returncode == 0
    assert calls[::2] == ["ninja reconfigure", "ninja "]
    assert rebuild(built)[1] == []
    # Without the tools they wait; what is there still works.
    (built / "src/tilewise/new.py").unlink()
    lose_tools(built)
    done, calls = rebuild(built, PATH=str(built / "nowhere"))
    assert (done.returncode, calls) == (0, [])


def test_a_build_that_failed_is_not_taken_for_one(built):
    (built / "broken").touch()
    change(built)
    assert rebuild(built)[0].returncode == 3
    # As before: but some modules may be new.
    (built / "src/tilewise/kernels/_near.pyx").write_text("before")
    (built / "broken").unlink()
    tools = str(built / "bin")
    done, calls = rebuild(built, path=tools)
    assert (done.returncode, len(calls)) == (0, 2)


def test_other_options_and_lost_modules_are_built_again(built):
    (built / "build" / "build.ninja").write_text("other rules")
    assert rebuild(built)[1] != []
    (built / "build" / "near.so").unlink()
    assert rebuild(built)[1] != []
    assert rebuild(built)[1] == []


def test_a_spoiled_record_is_as_good_as_none(built):
    for text in ("", "[]", "{", '{"sources": {}}'):
        (built / "build" / "tilewise-sources.json").write_text(text)
        assert rebuild(built, path=str(built / "bin"))[0].returncode == 0, text


def test_questions_go_to_ninja(built):
    for arguments in (("--version",), ("-t", "restat")):
        assert rebuild(built, *arguments)[1][0] == "ninja " + " ".join(arguments)


@pytest.fixture
def backend(monkeypatch):
    pytest.importorskip("mesonpy")
    spec = importlib.util.spec_from_file_location("build_backend", TOOLS / "build_backend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_backend_has_every_hook_of_meson_python(backend):
    import mesonpy

    hooks = {name for name in dir(mesonpy) if name.startswith(("build_", "get_requires_for_"))}
    assert hooks == set(backend.__all__)


def test_an_editable_build_runs_the_script(backend, monkeypatch):
    import mesonpy

    seen = {}

    def build_editable(*arguments):
        seen.update(os.environ)
        return "a.whl"

    monkeypatch.setattr(mesonpy, "build_editable", build_editable)
    for name in ("NINJA", "TILEWISE_NINJA", "TILEWISE_SCRIPTS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/tools/{name}")
    assert backend.build_editable("dist") == "a.whl"
    assert Path(seen["NINJA"]).samefile(TOOLS / "rebuild.py")
    assert os.access(seen["NINJA"], os.X_OK)
    assert seen["TILEWISE_NINJA"] == "/tools/ninja"
    assert seen["TILEWISE_SCRIPTS"]


def test_windows_says_what_to_type(backend, monkeypatch):
    monkeypatch.setattr(backend.sys, "platform", "win32")
    monkeypatch.setattr(backend, "_isolated", lambda: True)
    with pytest.raises(SystemExit, match="--no-build-isolation --editable"):
        backend.build_editable("dist")
