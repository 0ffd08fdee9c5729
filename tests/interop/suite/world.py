"""Ringfence between two Asterisks and telephones, each on a loopback address of its own.

Addresses are loopback alone, in a network of the suite's own (run); only processes that were started here are ended, by
their own handle.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import audio
from asterisk import Asterisk
from firewall import Firewall
from phones import Phone
from places import ANNA, DESK, DOOR, ELEMENT, FAR, PBX, PROVIDER, RINGFENCE, TONES
from process import ROOT, until


class World:
    """Everything that a case may use."""

    def __init__(self):
        (ROOT / "tmp").mkdir(exist_ok=True)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="ringfence-interop-", dir=ROOT / "tmp"))
        self.work.chmod(0o755)
        self.inside = f"/tmp/{self.work.name}"
        """The same folder, as seen from within."""
        self.processes = []
        self.phones = {}
        self.lasting = 0
        """Calls that go on across cases."""
        self.restarted = time.monotonic()
        """When the provider began last."""
        for name, hertz in TONES.items():
            audio.write_tone(self.work / f"{name}.wav", hertz, 60)
        audio.write_tone(self.work / "wide.wav16", 5000, 20, rate=16000)
        audio.write_tone(self.work / "announcement.wav", TONES["pbx"], 2.5)
        audio.write_tone(self.work / "hello.wav", TONES["pbx"], 0.4)
        # A 400 Hz square wave in A-law, for sipp.
        (self.work / "talk.al").write_bytes((b"\xd5" * 10 + b"\x55" * 10) * 1600)
        self.certificates()
        # Without its own name in hosts, Asterisk answers INVITEs with 100 and nothing more.
        (ROOT / "etc/hosts").write_text(f"127.0.0.1 localhost {os.uname().nodename}\n")
        self.firewall = Firewall(self)
        self.pbx, self.provider = Asterisk(self, "pbx"), Asterisk(self, "provider")

    def certificates(self):
        """An authority, and a certificate for each address that speaks TLS."""

        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], cwd=self.work, check=True, capture_output=True)

        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", 2, "-subj", "/CN=interop")
        for name, address in [("ringfence", RINGFENCE), ("pbx", PBX), ("provider", PROVIDER), ("element", ELEMENT)]:
            openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={address}")
            (self.work / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", 2, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
            (self.work / f"{name}.key").chmod(0o600)

    def start(self):
        self.provider.start()
        self.pbx.start()
        self.firewall.write()
        self.firewall.start()
        Phone(self, "anna", ANNA, f"<sip:01632960004@{ANNA}>;regint=0")
        for name, address in [("201", DESK), ("202", DOOR), ("301", FAR)]:
            home = PROVIDER if name == "301" else PBX
            Phone(self, name, address, f"<sip:{name}@{home}>;auth_pass=change-me;regint=60")

    def recording(self, name):
        return self.work / f"{name}.wav"

    def quiet(self):
        """Waits until nobody has a call any more but the lasting one: a case that leaves one behind fails."""

        def still():
            return {self.pbx.calls(), self.provider.calls(), len(self.firewall.calls())} == {self.lasting}

        until("the end of all calls", still, 15)

    def hang_up(self):
        """After a case that failed: the next one begins with nothing."""
        for phone in self.phones.values():
            if phone.runs():
                phone.do("hangupall")
        for asterisk in (self.pbx, self.provider):
            asterisk.hang_up()

    def keep(self, process):
        self.processes.append(process)
        return process

    def stop(self):
        for process in [*self.phones.values(), *self.processes, self.pbx, self.provider, self.firewall]:
            process.stop()
        if os.environ.get("KEEP"):
            print(f"kept: {self.work}")
        else:
            shutil.rmtree(self.work, ignore_errors=True)
