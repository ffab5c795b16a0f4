#!/usr/bin/env python3
"""Stand for ninja in an editable install: do nothing where no source has changed.

Whatever a build reads is compared, by content, with what the last build read. If all is the same
and the compiled modules are there, no tool is asked for. Otherwise ninja runs, if it, Cython and
meson are still where the build found them or on the path; if not, the message says what to type.
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


def build(arguments):
    """Run ninja if there is anything to do; return its exit status."""
    record, now = recorded(), sources()
    if is_current(record, now):
        print("ninja: no work to do.")
        return 0
    tools, path = find_tools(record)
    missing = [name for name in TOOLS if tools[name] is None]
    # build.ninja calls meson, where it has to, by the path that it had when it was configured.
    meson = record.get("meson")
    if meson and not Path(meson).exists() and "meson" not in missing:
        before = record.get("sources", {})
        reconfigures = any(
            before.get(name) != now.get(name)
            for name in before.keys() | now.keys()
            if name.endswith((".build", ".options"))
        )
        missing += ["meson"] if reconfigures else []
    if missing:
        return complain(record, now, missing)
    RECORD.unlink(missing_ok=True)
    done = subprocess.run([tools["ninja"], *arguments], env={**os.environ, "PATH": path})
    if done.returncode == 0:
        # Where pip puts the commands of packages that are installed later, beside those of today.
        folders = {os.environ.get("TILEWISE_SCRIPTS", ""), *record.get("folders", ())}
        folders |= {str(Path(tool).parent) for tool in tools.values()}
        made = sorted(str(name) for name in Path().rglob("*.so") if ".p/" not in name.as_posix())
        RECORD.write_text(
            json.dumps(
                {
                    "sources": now,
                    "plan": plan_of_build(),
                    "made": made,
                    "ninja": tools["ninja"],
                    "meson": tools["meson"],
                    "folders": sorted(filter(None, folders)),
                }
            ),
            encoding="utf-8",
        )
    return done.returncode


def main(arguments):
    """Build, or hand everything else that ninja is asked for to ninja."""
    if "-n" in arguments and is_current(recorded(), sources()):
        print("ninja: no work to do.")
        return 0
    other = any(argument.startswith(("-t", "-n", "-h", "--version")) for argument in arguments)
    if not other and Path("build.ninja").exists():
        return build(arguments)
    tools, _ = find_tools(recorded())
    if tools["ninja"] is None:
        print("tilewise: there is no ninja here to answer this", file=sys.stderr)
        return 1
    return subprocess.run([tools["ninja"], *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
