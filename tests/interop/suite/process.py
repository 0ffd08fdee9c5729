"""Programs of this suite, and what fails a case."""

import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
TOP = HERE.parent.parent
ROOT = pathlib.Path(os.environ.get("ASTERISK_ROOT", "/var/tmp/ringfence-asterisk"))
"""A Debian with Asterisk and baresip (install-asterisk)."""

PATIENCE = 30
"""Longer than anything here takes on a busy machine."""


begun = {"case": 0.0}
"""When the case that runs has begun, by the clock of files."""


class Failed(Exception):
    """A case did not come out as it must."""


class Skipped(Exception):
    """A case cannot run here."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def until(what, test, patience=PATIENCE):
    """Seconds until `test` gives something that is true."""
    begun = time.monotonic()
    while not test():
        check(time.monotonic() - begun < patience, f"{what}: not within {patience} s")
        time.sleep(0.05)
    return time.monotonic() - begun


def fresh(file):
    """That a file was written in this case, and not left behind by one before."""
    check(file.exists(), f"{file.name} is not there")
    check(file.stat().st_mtime >= begun["case"], f"{file.name} is of a case before")
    return file


def filled(template, words):
    """The text of a file, with each @WORD@ replaced."""
    text = template.read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    return text


class Process:
    """A program of ours, with its output in a file."""

    def __init__(self, arguments, log, cwd=None, stdin=subprocess.DEVNULL):
        self.log = pathlib.Path(log)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(arguments, stdin=stdin, stdout=out, stderr=out, cwd=cwd)

    def text(self):
        return self.log.read_text(errors="replace")

    def runs(self):
        return self.process.poll() is None

    def stop(self, patience=10):
        if self.runs():
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()
