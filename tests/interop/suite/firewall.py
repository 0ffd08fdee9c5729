"""Ringfence itself, as its operator sees it."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request

from places import ADMIN
from process import HERE, PATIENCE, TOP, Process, check, filled, until


BINARY = os.environ.get("RINGFENCE", TOP / "target/release/ringfence")


class Firewall:
    """The real Ringfence."""

    def __init__(self, world):
        self.world, self.process = world, None
        self.config = world.work / "ringfence.toml"
        password = world.work / "provider.password"
        password.write_text("open sesame\n")
        password.chmod(0o600)

    def write(self, transport="udp", srtp="off"):
        """Settings, with PBX and provider over one transport."""
        port = 5061 if transport == "tls" else 5060
        authority = f'ca = "{self.world.work}/ca.pem"' if transport == "tls" else ""
        words = {"TRANSPORT": transport, "SRTP": srtp, "PORT": port, "CA": authority, "WORK": self.world.work}
        self.config.write_text(filled(HERE / "ringfence.toml", words))

    def start(self):
        self.process = Process([BINARY, "run", "--config", self.config], self.world.work / "ringfence.log")
        until("Ringfence's start", self.answers)

    def reload(self, **settings):
        self.write(**settings)
        request = urllib.request.Request(f"{ADMIN}/api/reload", method="POST", data=b"")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def answers(self):
        try:
            return self.get("/health") is not None
        except OSError:
            check(self.process.runs(), f"Ringfence does not start: {self.process.text()[-800:]}")
            return False

    def get(self, path):
        try:
            with urllib.request.urlopen(f"{ADMIN}{path}", timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def metrics(self):
        """All series, as they are named in Prometheus' text."""
        with urllib.request.urlopen(f"{ADMIN}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    def metric(self, name):
        metrics = self.metrics()
        check(f"ringfence_{name}" in metrics, f"there is no metric {name}")
        return metrics[f"ringfence_{name}"]

    def tables(self):
        """What is left in the tables of calls; sources, numbers, blocks and connections are remembered beyond them."""
        pattern = re.compile(r'ringfence_table_entries\{table="(\w+)"\}')
        found = {pattern.fullmatch(name): value for name, value in self.metrics().items()}
        names = {match.group(1): value for match, value in found.items() if match}
        check({"calls", "media_sockets", "ears"} <= set(names), f"tables are missing: {names}")
        beyond = ("sources", "numbers", "kept_out", "connections")
        return {name: value for name, value in names.items() if value and name not in beyond}

    def trunk(self, name):
        trunks = self.get("/api/trunks")["trunks"]
        return next((trunk["state"] for trunk in trunks if trunk["name"] == name), "unknown")

    def calls(self):
        return self.get("/api/calls")["calls"]

    def last_call(self):
        """The record of the call that ended last."""
        calls = self.get("/api/calls/ended?limit=1")["calls"]
        check(calls, "no call has ended")
        return calls[0]

    def listens(self, file):
        """What it says of a recording."""
        done = subprocess.run([BINARY, "listen", file], capture_output=True, text=True, cwd=TOP, timeout=120)
        check(done.returncode == 0, f"listen: {done.stderr}")
        return done.stdout

    def stop(self):
        if self.process:
            self.process.stop(70)
