"""Telephones: baresip, driven by its keyboard commands, and sipp."""

import re
import subprocess
import time

from places import RINGFENCE, SIPP
from process import HERE, ROOT, Process, check, fresh, until


SIGNALS = ("ring", "ringback", "busy", "error", "notfound", "callwaiting", "sip_autoanswer")
QUIET = "".join(f"{signal}_aufile none\n" for signal in SIGNALS)
"""No tones of its own: they would go into the recording."""


class Phone(Process):
    """A baresip that answers by itself, sends its tone and records what it hears."""

    def __init__(self, world, name, address, account, codecs="PCMA/8000,PCMU/8000", rate=8000, more=""):
        self.world, self.name, self.address = world, name, address
        self.folder = world.work / f"phone-{name}"
        self.folder.mkdir()
        inside = f"{world.inside}/phone-{name}"
        ip, port = address.split(":")
        rtp = 25000 + 100 * (int(port) - 24060)
        # Opus is always 48 kHz and two channels (RFC 7587).
        channels = 2 if rate == 48000 else 1
        (self.folder / "config").write_text(
            f"poll_method epoll\nsip_listen {address}\n"
            f"call_local_timeout 120\ncall_max_calls 8\ncall_hold_other_calls no\n"
            f"audio_source aufile,{world.inside}/{name}.wav\naudio_player aubridge,none\n"
            f"ausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels {channels}\nauplay_channels {channels}\n"
            f"audio_buffer 20-160\n"
            f"ringback_disabled yes\n{QUIET}"
            f"rtp_ports {rtp}-{rtp + 99}\nnet_interface {ip}\n"
            f"module_path /usr/lib/baresip/modules\nmodule stdio.so\nmodule g711.so\nmodule aufile.so\n"
            # Not the module that plays into a file: it crashes on a re-INVITE. A filter notes what was decoded.
            f"module aubridge.so\nmodule sndfile.so\nsnd_path {inside}\n"
            f"{more}module_tmp uuid.so\nmodule_tmp account.so\nmodule_app menu.so\n"
        )
        (self.folder / "accounts").write_text(f"{account};answermode=auto;audio_codecs={codecs}\n")
        (self.folder / "contacts").write_text("")
        command = ["chroot", ROOT, "/usr/bin/baresip", "-s", "-f", inside]
        super().__init__(command, self.folder / "log", stdin=subprocess.PIPE)
        until(f"{name}'s start", lambda: "baresip is ready" in self.text())
        world.phones[name] = self

    def do(self, command):
        check(self.runs(), f"telephone {self.name} has crashed")
        self.process.stdin.write(f"/{command}\n".encode())
        self.process.stdin.flush()

    def mark(self):
        """From here on is what `said` looks at."""
        self.seen = len(self.text())

    def said(self, pattern):
        return re.search(pattern, self.text()[self.seen :], re.S)

    def dial(self, uri, patience=15):
        """Seconds until the call is answered."""
        self.mark()
        self.do(f"dial {uri}")
        return until(f"{self.name}'s call to {uri}", lambda: self.said("Call established"), patience)

    def hang_up(self):
        self.do("hangup")

    def recording(self):
        """What the last call heard."""
        found = sorted(self.folder.glob("dump-*-dec.wav"), key=lambda file: file.stat().st_mtime_ns)
        check(found, f"{self.name} has recorded nothing")
        return fresh(found[-1])

    def answer_to_invite(self, number):
        """The last 200 to an INVITE for a number, as this phone saw it."""
        found = re.findall(r"SIP/2\.0 200 [^\r\n]*\r?\n(?:[^\r\n]+\r?\n)+", self.text())
        found = [text for text in found if f"sip:{number}@" in text and re.search(r"CSeq: \d+ INVITE", text)]
        check(found, f"{self.name} has had no 200 from {number}")
        return found[-1]

    def stop(self, patience=5):
        if self.runs():
            try:
                self.do("quit")
                self.process.wait(patience)
            except (OSError, subprocess.TimeoutExpired):
                super().stop()


def header(text, name):
    return re.search(rf"^{name}:\s*([^\r\n]+)", text, re.M | re.I).group(1)


def tag(value):
    return re.search(r";tag=([^;>\s]+)", value).group(1)


class Sipp(Process):
    """A sipp that calls an extension with the scenario of this folder, with sound."""

    def __init__(self, world, name, extension, *arguments):
        text = (HERE / "uac.xml").read_text().replace("sip:201@", f"sip:{extension}@")
        scenario, self.stat = world.work / f"{name}.xml", world.work / f"{name}.csv"
        scenario.write_text(text)
        command = ["sipp", RINGFENCE, "-sf", scenario, "-i", SIPP, "-p", "5060", "-mp", "26000", "-nostdin"]
        command += ["-trace_stat", "-fd", "1", "-stf", self.stat, "-trace_err", *map(str, arguments)]
        super().__init__(command, world.work / f"{name}.log", cwd=world.work)

    def ended(self, patience):
        """(good, failed) calls."""
        begun = time.monotonic()
        while self.runs() and time.monotonic() - begun < patience:
            time.sleep(0.1)
        check(not self.runs(), f"sipp did not end: {self.text()[-300:]}")
        names, *_, last = [line.split(";") for line in self.stat.read_text().splitlines() if line]
        row = dict(zip(names, last))
        return int(row["SuccessfulCall(C)"]), int(row["FailedCall(C)"])
