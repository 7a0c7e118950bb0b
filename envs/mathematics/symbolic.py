"""The processes that run math-verify: one JSON line in, one JSON line out. Run by path, and never imported by a caller.

The first one imports and warms up, which takes a second, and forks another that serves. When that is killed, it forks
the next one within milliseconds. What serves ends when a request takes ``ALARM`` seconds whatever holds the
interpreter, and when it wants more memory than it may have; both end when the input does, or the parent.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from typing import Any, TextIO

ALARM = 10  # seconds; the owner kills long before
ENDED = 0  # exit status of a server that nobody needs any more


WARM = (
    (r"\int_0^1 x\,dx", r"\frac{1}{2}"),
    (r"\lim_{x\to 0}\frac{\sin(x)}{x}", "1"),
    ("f(x)", "f(y)"),
    (r"-1\le x\le a", "[-1,a]"),
    ("x^2+y^2=a", "2x^2+2y^2=2a"),
    ("x^2-3x<4", "(-1,4)"),
)
"""Compared once at the start, because what sympy imports and caches late makes first comparisons slow."""


def main() -> None:
    """Warm up and keep a server; ``argv[1]`` is the bound on the address space in MiB, ``argv[2]`` the parent."""
    limit, parent = int(sys.argv[1]) << 20, int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends us, even inside one long multiplication
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.set_int_max_str_digits(5000)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not enter the protocol
    for pair in WARM:
        compare(*pair)
    gc.collect()
    gc.freeze()  # what is warm stays shared between the servers
    while os.getppid() == parent:
        alive, held = os.pipe()  # ends with the server
        server = os.fork()
        if not server:
            os.close(alive)
            threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
            serve(out)
            os._exit(ENDED)
        os.close(held)
        while not select.select([alive], [], [], 0.5)[0]:
            if os.getppid() != parent:
                os.kill(server, signal.SIGKILL)
        os.close(alive)
        status = os.waitpid(server, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == ENDED:
            break


def serve(out: TextIO) -> None:
    """Say who serves, and answer requests until the input ends or an empty line comes."""
    print(json.dumps({"serving": os.getpid()}), file=out, flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        signal.alarm(ALARM)
        gold, answer = json.loads(line)
        try:
            found = compare(gold, answer)
        except MemoryError:
            os._exit(3)
        except Exception as exception:
            found = f"unparseable answer: {type(exception).__name__}"
        signal.alarm(0)
        print(json.dumps({"found": found, "mib": resident_mib()}), file=out, flush=True)


def resident_mib() -> int:
    """Return the memory this process has now, 0 where the system does not say.

    Not ``ru_maxrss``: on Linux that begins with what the parent had when it forked, and a training process is big.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as fields:
            return int(fields.read().split()[1]) * resource.getpagesize() >> 20
    except OSError:
        return 0


def watch_parent(parent: int) -> None:
    """Exit soon after the parent has gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def compare(gold: str, answer: str) -> str:
    """Return equal, different, unparseable gold or unparseable answer; both are LaTeX without dollars."""
    gold_values = read(gold)
    if not gold_values:
        return "unparseable gold"
    answer_values = read(answer)
    if not answer_values:
        return "unparseable answer"
    from math_verify import verify

    same = verify(
        gold_values,
        answer_values,
        float_rounding=12,
        strict=True,
        allow_set_relation_comp=True,
        timeout_seconds=None,
        raise_on_error=False,
    )
    return "equal" if same else "different"


def read(text: str) -> list[Any]:
    """Return the form that math-verify reads; only expressions, never the bare string it falls back to."""
    from math_verify import LatexExtractionConfig, parse

    found = parse(
        f"${text}$", extraction_config=[LatexExtractionConfig()], parsing_timeout=None, fallback_mode="no_fallback"
    )
    return [value for value in found if not isinstance(value, str)]


if __name__ == "__main__":
    main()
