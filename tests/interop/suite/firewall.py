"""Ringfence itself, as its operator sees it."""

import json
import os
import re
import urllib.error
import urllib.request

from places import ADMIN
from process import HERE, PATIENCE, TOP, Process, check, filled, until


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
        binary = os.environ.get("RINGFENCE", TOP / "target/release/ringfence")
        self.process = Process([binary, "run", "--config", self.config], self.world.work / "ringfence.log")
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
        return self.metrics().get(f"ringfence_{name}", 0.0)

    def tables(self):
        """What is left in the tables of calls; sources, numbers, blocks and connections are remembered beyond them."""
        pattern = re.compile(r'ringfence_table_entries\{table="(\w+)"\}')
        found = {pattern.fullmatch(name): value for name, value in self.metrics().items() if value}
        names = {match.group(1): value for match, value in found.items() if match}
        beyond = ("sources", "numbers", "kept_out", "connections")
        return {name: value for name, value in names.items() if name not in beyond}

    def trunk(self, name):
        trunks = self.get("/api/trunks")["trunks"]
        return next((trunk["state"] for trunk in trunks if trunk["name"] == name), "unknown")

    def calls(self):
        return self.get("/api/calls")["calls"]

    def stop(self):
        if self.process:
            self.process.stop(70)
