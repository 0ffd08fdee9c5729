"""What went over the wire, by tcpdump."""

import re
import struct
from collections import namedtuple

from places import RINGFENCE
from process import Process, check, until

Packet = namedtuple("Packet", "at source destination payload")
"""A UDP datagram over IPv4; source and destination are (address, port)."""


class Wire(Process):
    """A capture of loopback. `device`: "any" writes what people have when they capture without a thought."""

    def __init__(self, world, name, what=f"udp and host {RINGFENCE}", device="lo"):
        self.file = world.work / f"{name}.pcap"
        command = ["tcpdump", "-i", device, "-U", "-n", "-Z", "root", "-w", self.file, what]
        super().__init__(command, world.work / f"{name}-tcpdump.log")
        world.keep(self)
        until("tcpdump's start", lambda: "listening on" in self.text())

    def packets(self):
        """All so far, of a capture of "lo" (Ethernet)."""
        data, at, found = self.file.read_bytes(), 24, []
        check(len(data) < 24 or struct.unpack_from("<I", data, 20) == (1,), f"{self.file} is not of Ethernet")
        while at + 16 <= len(data):
            seconds, micros, length, _ = struct.unpack_from("<4I", data, at)
            frame = data[at + 16 : at + 16 + length]
            at += 16 + length
            if frame[12:14] != b"\x08\x00" or len(frame) < 42 or frame[23] != 17:
                continue
            udp = 14 + 4 * (frame[14] & 15)
            source, destination = struct.unpack_from("!HH", frame, udp)
            address = [".".join(map(str, frame[start : start + 4])) for start in (26, 30)]
            found.append(
                Packet(seconds + micros / 1e6, (address[0], source), (address[1], destination), frame[udp + 8 :])
            )
        return found


def is_rtp(packet):
    """And not RTCP (RFC 5761)."""
    payload = packet.payload
    return len(payload) >= 12 and payload[0] >> 6 == 2 and not 64 <= payload[1] & 127 < 96


def described(packets, start, source, destination, media):
    """Where a description in a SIP message from one to the other wants this media: the last such message's."""
    for packet in reversed(packets):
        text = packet.payload.decode(errors="replace")
        if (packet.source[0], packet.destination[0]) == (source, destination) and text.startswith(start):
            port = re.search(rf"^m={media} (\d+)", text, re.M)
            address = re.search(r"^c=IN IP4 (\S+)", text, re.M)
            if port and address:
                return address.group(1), int(port.group(1))
    check(False, f"no {start} with {media} from {source} to {destination}")
