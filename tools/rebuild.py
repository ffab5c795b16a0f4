#!/usr/bin/env python3
"""Stand for ninja in an editable install: do nothing where no source has changed.

Whatever a build reads is compared, by content, with what the last build read. If all is the same
and the compiled modules are there, no tool is asked for. Otherwise ninja runs, if it, Cython and
meson are still where the build found them or on the path; if not, the message says what to type.
Where a Python file was added or removed, meson configures anew, if it is there: the import hook
looks for the files of meson's list.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
RECORD = Path("tilewise-sources.json")  # in the build folder, which is where ninja runs
READ = {".pyx", ".pxd", ".c", ".h", ".build", ".options"}
TOOLS = ("ninja", "cython", "meson")


def sources():
    """Return a digest for each file that a build reads, by its name."""
    files = [path for path in (SOURCE / "src").rglob("*") if path.suffix in READ]
    files += SOURCE.glob("meson.*")
    return {
        path.relative_to(SOURCE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def python_files():
    """Return the names of the Python files: meson lists them when it configures, not later."""
    return sorted(path.relative_to(SOURCE).as_posix() for path in (SOURCE / "src").rglob("*.py"))


def plan_of_build():
    """Return a digest of what ninja was told: options of the build are in there."""
    return hashlib.sha256(Path("build.ninja").read_bytes()).hexdigest()


def recorded():
    """Return what the last complete build recorded, or nothing."""
    try:
        found = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_current(record, now):
    """Whether the last build was one of just these files, and all that it made is there."""
    return (
        bool(record.get("made"))
        and record.get("sources") == now
        and record.get("plan") == plan_of_build()
        and all(Path(name).exists() for name in record["made"])
    )


def find_tools(record):
    """Return where each tool is, None for what is gone, and a path on which all are found."""
    path = os.pathsep.join([*record.get("folders", ()), os.environ.get("PATH", os.defpath)])
    found = {name: shutil.which(name, path=path) for name in TOOLS}
    found["ninja"] = os.environ.get("TILEWISE_NINJA") or record.get("ninja") or found["ninja"] or ""
    if not shutil.which(found["ninja"]):
        found["ninja"] = shutil.which("ninja", path=path)
    return found, path


def complain(record, now, missing):
    """Say what has changed and what to type."""
    before = record.get("sources", {})
    changed = sorted(
        name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
    )
    what = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    print(
        f"tilewise: the compiled modules must be built again ({what or 'some are missing'}), and "
        f"this environment has no {', '.join(missing)}: pip deletes them after an isolated build."
        f"\nRun once, in {SOURCE}:\n"
        "  pip install --editable .\n"
        "To have changes compiled at the next import instead: make venv, or install the build\n"
        "requirements and ninja, and pip install --no-build-isolation --editable .",
        file=sys.stderr,
    )
    return 1


def missing_tools(record, now, tools, same_names):
    """Return which tools this build would call in vain."""
    missing = [name for name in TOOLS if tools[name] is None]
    before = record.get("sources", {})
    reconfigures = not same_names or any(
        before.get(name) != now.get(name)
        for name in before.keys() | now.keys()
        if name.endswith((".build", ".options"))
    )
    # build.ninja calls meson by the path that it had when it was configured.
    meson = record.get("meson")
    if reconfigures and meson and not Path(meson).exists() and "meson" not in missing:
        missing.append("meson")
    return missing


def build(arguments):
    """Run ninja if there is anything to do; return its exit status."""
    record, now, names = recorded(), sources(), python_files()
    current = is_current(record, now)
    same_names = record.get("python", names) == names
    if current and same_names:
        print("ninja: no work to do.")
        return 0
    tools, path = find_tools(record)
    missing = missing_tools(record, now, tools, same_names)
    if missing and current:
        return 0  # all that is compiled is as it was; a new Python file waits
    if missing:
        return complain(record, now, missing)
    RECORD.unlink(missing_ok=True)
    environment = {**os.environ, "PATH": path}
    commands = [[tools["ninja"], *arguments]]
    if not same_names:
        commands.insert(0, [tools["ninja"], "reconfigure"])
    for command in commands:
        status = subprocess.run(command, env=environment).returncode
        if status:
            return status
    keep(record, now, names, tools)
    return 0


def keep(record, now, names, tools):
    """Record a complete build."""
    # Where pip puts the commands of packages that are installed later, beside those of today.
    folders = {os.environ.get("TILEWISE_SCRIPTS", ""), *record.get("folders", ())}
    folders |= {str(Path(tool).parent) for tool in tools.values()}
    made = sorted(str(name) for name in Path().rglob("*.so") if ".p/" not in name.as_posix())
    values = {
        "sources": now,
        "python": names,
        "plan": plan_of_build(),
        "made": made,
        "ninja": tools["ninja"],
        "meson": tools["meson"],
        "folders": sorted(filter(None, folders)),
    }
    RECORD.write_text(json.dumps(values), encoding="utf-8")


def main(arguments):
    """Build, or hand everything else that ninja is asked for to ninja."""
    record = recorded()
    same_names = record.get("python") == python_files()
    if "-n" in arguments and same_names and is_current(record, sources()):
        print("ninja: no work to do.")
        return 0
    other = any(argument.startswith(("-t", "-n", "-h", "--version")) for argument in arguments)
    if not other and Path("build.ninja").exists():
        return build(arguments)
    tools, _ = find_tools(record)
    if tools["ninja"] is None:
        print("tilewise: there is no ninja here to answer this", file=sys.stderr)
        return 1
    return subprocess.run([tools["ninja"], *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
