"""The messages of RFC 4475 over each transport, into a Ringfence of their own: what leaves it is what the table in
examples/torture.rs says, but where a stream must differ."""

import os
import pathlib
import re
import select
import socket
import ssl
import time

from places import ELEMENT as US
from process import HERE, TOP, Process, Skipped, check, filled, until

BEHIND, TRUNK = "127.66.0.12", "127.66.0.13"

OTHER_ON_STREAMS = {
    # The rest of its body is waited for.
    "clerr": set(),
    # What stands behind its length is a message here, too: an INVITE without Contact, as in inv2543.
    "dblreq": {"Forwards", "400"},
}
"""Name: what becomes of it over TCP and TLS, where that is not the same."""


def table():
    """Name: all that the element does with it."""
    text = (TOP / "examples/torture.rs").read_text()
    rows = re.findall(r'^    \("(\w+)", "\w+", (\w+)(?:\((\d+)\))?, ', text, re.M)
    check(len(rows) == 49, f"{len(rows)} rows in examples/torture.rs")
    return {name: {code or does} - {"Nothing"} for name, does, code in rows}


def messages():
    folder = pathlib.Path(os.environ.get("TORTURE", "none"))
    found = {file.stem: file.read_bytes() for file in sorted(folder.glob("*.dat"))}
    if not found:
        raise Skipped("TORTURE names no folder with RFC 4475's messages; they are not part of this repository")
    return found


class Element:
    """A Ringfence whose PBX and trunk are sockets of ours."""

    def __init__(self, world, transport, ports):
        folder = world.work / f"torture-{transport}"
        folder.mkdir(exist_ok=True)
        config = folder / "ringfence.toml"
        config.write_text(filled(HERE / "torture.toml", {"WORK": world.work, "FOLDER": folder}))
        binary = os.environ.get("RINGFENCE", TOP / "target/release/ringfence")
        log = folder / "log"
        before = log.read_text().count("Ringfence is up") if log.exists() else 0
        self.process = world.keep(Process([binary, "run", "--config", config], log))
        self.pbx, self.seen = bound(BEHIND, 5060), set()
        self.trunk = [bound(TRUNK, port) for port in sorted(ports)]
        self.transport, self.authority = transport, world.work / "ca.pem"
        until("its start", lambda: self.process.text().count("Ringfence is up") == before + 3)

    def close(self):
        for line in [self.pbx, *self.trunk]:
            line.close()
        self.process.stop()

    def send(self, message):
        """The line that answers come on."""
        if self.transport == "udp":
            line = next(line for line in self.trunk if line.getsockname()[1] == 5060)
            line.sendto(message, (US, 5060))
            return line
        port = 5061 if self.transport == "tls" else 5060
        line = socket.create_connection((US, port), timeout=5, source_address=(TRUNK, 0))
        if self.transport == "tls":
            line = ssl.create_default_context(cafile=self.authority).wrap_socket(line, server_hostname=US)
        line.sendall(message)
        line.settimeout(0.05)
        return line

    def fates(self, message, expected):
        """All that leaves because of a message: a status, what reaches the PBX.

        Ends as soon as that is what is expected, or something else."""
        ids = re.findall(rb"(?im)^(?:call-id|i)\s*:\s*(\S+)", message)
        line = self.send(message)
        lines = [self.pbx, *(self.trunk if self.transport == "udp" else [line])]
        fates, end = set(), time.monotonic() + (3 if expected else 0.25)
        while (fates < expected or not expected and not fates) and time.monotonic() < end:
            for ready in select.select(lines, [], [], 0.05)[0]:
                fate = self.reads(ready, ids)
                if fate == "closed":
                    if ready is line:
                        lines.remove(line)
                elif fate:
                    fates.add(fate)
        if line not in self.trunk:
            line.close()
        return fates

    def reads(self, line, ids):
        try:
            data = line.recv(65535)
        except TimeoutError:
            return None
        except OSError:
            return "closed"
        if not data:
            return "closed"
        if ids and not any(name in data for name in ids):
            return None
        if line is self.pbx:
            # Nobody answers there, so that it comes again.
            if data in self.seen:
                return None
            self.seen.add(data)
            return "BeginsCall" if data.startswith(b"INVITE ") else "Forwards"
        codes = [code for code in re.findall(rb"^SIP/2\.0 (\d{3})", data, re.M) if code != b"100"]
        return codes[-1].decode() if codes else None


def bound(address, port):
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.bind((address, port))
    return line


def over(world, transport):
    sent, expected = messages(), table()
    # An answer over UDP goes to the port that Via names.
    via = re.compile(rb"SIP */ *2\.0 */[^;]*?:\s*(\d{4,5})\b")
    ports = {5060} | {int(port) for text in sent.values() for port in via.findall(text)}
    if transport != "udp":
        expected |= OTHER_ON_STREAMS
    wrong, rest = [], dict(sent)
    while rest:
        # Some have one branch in common, and would be one transaction: these come to a new Ringfence.
        element, branches, later = Element(world, transport, ports), set(), {}
        try:
            for name, message in rest.items():
                branch = re.search(rb"branch *= *([^;\s]+)", message)
                if branch and branch.group(1) in branches:
                    later[name] = message
                    continue
                branches.add(branch and branch.group(1))
                fates = element.fates(message, expected[name])
                if fates != expected[name]:
                    wrong.append(f"{name}: {sorted(fates)}, not {sorted(expected[name])}")
        finally:
            element.close()
        rest = later
    check(not wrong, "; ".join(wrong))
    return f"{len(sent)} messages as the table says"


def by_udp(world):
    """RFC 4475 over UDP"""
    return over(world, "udp")


def by_tcp(world):
    """RFC 4475 over TCP"""
    return over(world, "tcp")


def by_tls(world):
    """RFC 4475 over TLS"""
    return over(world, "tls")


CASES = [by_udp, by_tcp, by_tls]
