"""Who is where, on loopback, and who sends which tone."""

RINGFENCE = "127.66.0.1"
PBX = "127.66.0.2"
PROVIDER = "127.66.0.3"
ANNA = "127.0.0.1:24060"
"""A telephone outside, a trunk without registration. Its audio comes from where the kernel says: 127.0.0.1."""
OLGA, VERA = "127.0.0.1:24064", "127.0.0.1:24065"
"""Two more of that kind: one that speaks Opus alone, one with a camera."""
DESK, DOOR, FAR = "127.0.0.1:24061", "127.0.0.1:24062", "127.0.0.1:24063"
"""Telephones 201 and 202 behind the PBX, and 301 at the provider."""
SIPP = "127.66.0.6"
ELEMENT = "127.66.0.11"
"""Another Ringfence, for messages that no telephone sends."""
STRANGER, FLOOD, SLOW = "127.66.0.20", "127.66.0.21", "127.66.0.7"
ADMIN = f"http://{RINGFENCE}:8470"

TONES = {"anna": 700, "201": 1100, "202": 1300, "301": 1700, "pbx": 1500, "provider": 1900, "vera": 900}
"""Who sends which frequency, so that a recording tells who was heard."""
