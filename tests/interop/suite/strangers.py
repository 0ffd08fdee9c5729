"""Strangers: scanners, a flood, a connection that drips. They learn nothing, and no good call is lost."""

import contextlib
import re
import socket
import ssl
import subprocess
import threading
import time

from calls import both, hears
from phones import Sipp
from places import FLOOD, PBX, RINGFENCE, SLOW, STRANGER
from process import HERE, check, until
from wire import Wire


def scan(tool, target, *arguments):
    """What a tool of sipvicious prints, as a stranger."""
    command = ["/usr/bin/python3", HERE / "suite/stranger.py", STRANGER, tool, "-P", "5070"]
    command += [*map(str, arguments), target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as late:
        return "".join((part or b"").decode() for part in (late.stdout, late.stderr))
    return done.stdout + done.stderr


def found(output):
    """Rows of a result's table, without its head."""
    rows = [line for line in output.splitlines() if re.match(r"^[|\u2502] ", line.strip())]
    return [row for row in rows if not re.search("SIP Device|Extension|Authentication", row)]


def scanners(world):
    """sipvicious: svmap, svwar and svcrack find nothing here, and something at the unprotected PBX"""
    sipp = Sipp(world, "scanned", "echo", "-m", 30, "-r", 3)
    words = world.work / "words"
    words.write_text("1234\nsecret\nchange-me\n")
    lines, wire = [], Wire(world, "strangers", f"host {STRANGER} and udp port 5060")
    for tool, arguments in [
        ("svmap", ["-p", "5060"]),
        ("svwar", ["-e", "200-204", "-m", "INVITE", "--force"]),
        ("svwar", ["-e", "200-204", "-m", "REGISTER"]),
        ("svwar", ["-e", "200-204", "-m", "OPTIONS"]),
        ("svcrack", ["-u", "201", "-d", words]),
    ]:
        before = len(wire.packets())
        here = scan(tool, RINGFENCE, *arguments)
        check(not found(here), f"{tool} {arguments} learned: {here}")
        until(f"what {tool} sends", lambda: len(wire.packets()) > before)
        lines.append(tool)
    seen = wire.packets()
    answers = [packet for packet in seen if packet.source[0] == RINGFENCE]
    check(not answers, f"a stranger was answered: {answers[:1]}")
    there = {tool: scan(tool, PBX, *arguments) for tool, arguments in [
        ("svmap", ["-p", "5060"]), ("svcrack", ["-u", "201", "-d", words])
    ]}
    check(all(found(output) for output in there.values()), f"the tools find nothing anywhere: {there}")
    wire.stop()
    good, failed = sipp.ended(60)
    check((good, failed) == (30, 0), f"{good} good calls, {failed} failed")
    return f"{', '.join(lines)}: {len(seen)} datagrams, no answer; meanwhile {good} good calls, {failed} failed"


def shower(rate, seconds, done):
    """INVITEs of a stranger, paced by the clock; gives how many were sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((FLOOD, 5060))
        begun, sent = time.monotonic(), 0
        while (passed := time.monotonic() - begun) < seconds:
            while sent < passed * rate:
                out.sendto(
                    f"INVITE sip:201@{RINGFENCE} SIP/2.0\r\nVia: SIP/2.0/UDP {FLOOD}:5060;branch=z9hG4bKf{sent}\r\n"
                    f"Max-Forwards: 70\r\nFrom: <sip:x@{FLOOD}>;tag={sent}\r\nTo: <sip:201@{RINGFENCE}>\r\n"
                    f"Call-ID: flood{sent}\r\nCSeq: 1 INVITE\r\nContact: <sip:x@{FLOOD}>\r\n"
                    f"Content-Length: 0\r\n\r\n".encode(),
                    (RINGFENCE, 5060),
                )
                sent += 1
            time.sleep(0.002)
        out.setblocking(False)
        try:
            done["answer"] = out.recv(65535)
        except BlockingIOError:
            pass
        done["sent"] = sent


def flood(world):
    """a flood of INVITEs from one stranger, 5,000 a second: it gets no answer, good calls stay good"""
    done, anna = {}, world.phones["anna"]
    thread = threading.Thread(target=shower, args=(5000, 6, done))
    thread.start()
    time.sleep(0.5)
    sipp = Sipp(world, "flooded", "echo", "-m", 20, "-r", 5)
    answered = anna.dial(f"sip:1061@{RINGFENCE}")
    time.sleep(3)
    anna.hang_up()
    thread.join()
    good, failed = sipp.ended(60)
    check("answer" not in done, f"the flood was answered: {done.get('answer')}")
    blocks = world.firewall.get("/api/sources")["blocks"]
    check(any(block["source"].startswith(FLOOD) for block in blocks), f"the flood is not among the blocks: {blocks}")
    check((good, failed) == (20, 0), f"{good} good calls, {failed} failed")
    world.quiet()
    heard = both(hears(world.recording("pbx-1061"), "anna"), hears(anna.recording(), "pbx"))
    return f"{done['sent']} INVITEs, no answer; {good} good calls, {failed} failed; answered after " + (
        f"{answered * 1000:.0f} ms; {heard}"
    )


def drip(line, data):
    """Seconds until a connection to which a byte is given now and then is closed."""
    begun = time.monotonic()
    line.settimeout(0.5)
    for byte in data:
        try:
            line.send(bytes([byte]))
            if line.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


def greeting(context):
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=RINGFENCE).do_handshake()
    return out.read()


def dripping(world):
    """TLS clients that send a byte now and then, in the handshake and behind it, are closed"""
    open_before = world.firewall.metric('table_entries{table="connections"}')
    context = ssl.create_default_context(cafile=world.work / "ca.pem")
    times = []
    for greets in (False, True):
        line = socket.create_connection((RINGFENCE, 5061), timeout=10, source_address=(SLOW, 0))
        if greets:
            line = context.wrap_socket(line, server_hostname=RINGFENCE)
        times.append(drip(line, (b"OPTIONS sip:201@pbx" if greets else greeting(context))[:40]))
        line.close()
    check(all(2 < seconds < 8 for seconds in times), f"closed after {times} s; 3 s are allowed")
    anna = world.phones["anna"]
    anna.dial(f"sip:1062@{RINGFENCE}")
    anna.hang_up()
    until("their end", lambda: world.firewall.metric('table_entries{table="connections"}') <= open_before)
    return "3 s are allowed: closed after " + " and ".join(f"{seconds:.1f} s" for seconds in times)


CASES = [scanners, flood, dripping]
