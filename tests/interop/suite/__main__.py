"""Runs the cases in their order, or those whose name holds one of the words given."""

import sys
import time
import traceback

import calls
import failures
import strangers
import transfers
from process import Failed
from world import World

CASES = [*calls.CASES, *transfers.CASES, *strangers.CASES, *failures.CASES]


def main(words):
    wanted = [case for case in CASES if not words or any(word in case.__doc__ for word in words)]
    world, failed, begun = World(), 0, time.monotonic()
    try:
        world.start()
        print(f"     {time.monotonic() - begun:5.1f} s  Ringfence and two Asterisks are up", flush=True)
        for case in wanted:
            failed += not passes(case, world)
    finally:
        world.stop()
    print(f"\n{len(wanted) - failed} passed, {failed} failed")
    print(f"interop: {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


def passes(case, world):
    """One line: what it was, how long it took, what was measured."""
    begun = time.monotonic()
    try:
        figures, word = case(world), "ok  "
        world.quiet()
    except Failed as error:
        figures, word = str(error), "FAIL"
        world.hang_up()
    except Exception:
        figures, word = traceback.format_exc(), "FAIL"
        world.hang_up()
    print(f"{word} {time.monotonic() - begun:5.1f} s  {case.__doc__}: {figures}", flush=True)
    return word == "ok  "


sys.exit(main(sys.argv[1:]))
