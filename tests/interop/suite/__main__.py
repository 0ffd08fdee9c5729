"""Runs the cases in their order, or those whose name holds one of the words given."""

import signal
import sys
import time
import traceback

import calls
import codecs_and_cameras
import failures
import strangers
import torture
import transfers
from process import Failed, Skipped, begun as since
from world import World

CASES = [
    failures.begin_lasting,
    *calls.CASES,
    *codecs_and_cameras.CASES,
    *transfers.CASES,
    failures.branch_registers,
    failures.end_lasting,
    failures.provider_crashes,
    *strangers.CASES,
    *torture.CASES,
    *failures.CASES,
]
"""In this order: what takes time to show begins early, and the others run meanwhile."""


def main(words):
    wanted = [case for case in CASES if not words or any(word in case.__doc__ for word in words)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results, begun = {"ok": [], "FAIL": [], "skip": []}, time.monotonic()
    world = World()
    try:
        world.start()
        took = time.monotonic() - begun
        print(f"     {took:5.1f} s  Ringfence, two Asterisks and four telephones are up", flush=True)
        for case in wanted:
            results[outcome(case, world)].append(case.__doc__)
    finally:
        world.stop()
    for name in results["skip"]:
        print(f"skipped: {name}")
    print(f"\ninterop: {time.monotonic() - begun:.0f} s, failed: {', '.join(results['FAIL']) or 'none'}")
    print(f"{len(results['ok'])} passed, {len(results['FAIL'])} failed, {len(results['skip'])} skipped")
    return 1 if results["FAIL"] or not results["ok"] else 0


def outcome(case, world):
    """One line: what it was, how long it took, what was measured."""
    begun = time.monotonic()
    since["case"] = time.time()
    try:
        figures, word = case(world), "ok"
        world.quiet()
    except Skipped as reason:
        figures, word = str(reason), "skip"
    except Failed as error:
        figures, word = str(error), "FAIL"
    except Exception:
        figures, word = traceback.format_exc(), "FAIL"
    if word == "FAIL":
        world.hang_up()
    print(f"{word:4} {time.monotonic() - begun:5.1f} s  {case.__doc__}: {figures}", flush=True)
    return word


sys.exit(main(sys.argv[1:]))
