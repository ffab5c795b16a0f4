"""Ctrl-C in the middle of a call, and how much of its work was still done.

What is compared is processor time of the process itself, with that of the whole call: neither a
burdened machine nor a slow one changes the share.
"""

import os
import subprocess
import sys

#: What a program begins with that calls `interrupted`.
PROGRAM = '''
import os, signal, sys, threading, time

# What runs in the background of a shell is born deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupted(work):
    """Interrupt a call early; return the share of its work that was done after the signal.

    The work is done once as a whole, and then again. Where it has gone before the signal comes,
    since the machine has become faster meanwhile, it is tried with an earlier one.
    """
    begin, clock = time.perf_counter(), time.process_time()
    work()
    lasted, whole = time.perf_counter() - begin, time.process_time() - clock
    for attempt in range(8):
        gone, sent = threading.Event(), []

        def interrupt():
            if not gone.wait(0.15 * lasted / 2**attempt):
                sent.append(time.process_time())
                os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            work()
        except KeyboardInterrupt:
            return (time.process_time() - sent[0]) / whole
        try:
            gone.set()
            thread.join()
        except KeyboardInterrupt:
            pass  # it came behind the last line of the work
    sys.exit("never interrupted")
'''


def share_after_ctrl_c(code, *arguments, **environment):
    """Run a program that prints what `interrupted` returned; return that."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, *map(str, arguments)],
        capture_output=True, text=True, timeout=500, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
