"""Calls in Opus and with pictures: telephones with libopus and libvpx outside, an Asterisk with libopus inside."""

import subprocess
import time

from audio import likeness, loudness
from calls import TALK, hears, reached
from phones import Phone
from places import OLGA, PBX, RINGFENCE, VERA
from process import TOP, check, fresh, until
from wire import Wire, described, is_rtp

CAMERA = VERA.split(":")[0]
ANNOUNCEMENTS = TOP / "config/announcements"


def says(recording, name):
    """That a recording holds this announcement, and none of the others as well as that."""
    heard = loudness(fresh(recording))
    found = {file.stem: likeness(heard, loudness(file)) for file in ANNOUNCEMENTS.glob("call*.wav")}
    best = max(found, key=found.get)
    check(best == name and found[name] > 0.85, f"{recording.name} holds {best} ({found[best]:.2f}), not {name}")
    return f"{name} ({found[name]:.2f})"


def opus(world):
    """Opus: a scam is heard and taken away, both ends hear the announcement in Opus, a capture of it is heard alike"""
    # The demo's robot, as a telephone with Opus sends it.
    wide = ["-b", "16", "-r", "48000", world.work / "olga.wav", "remix", "1", "1", "pad", "0", "60"]
    subprocess.run(["sox", "-q", TOP / "src/demo/audio/scam.wav", *map(str, wide)], check=True)
    account = f"<sip:01632960006@{OLGA}>;regint=0"
    olga = Phone(world, "olga", OLGA, account, codecs="opus/48000/2", rate=48000, more="module opus.so\nopus_bitrate 24000\n")
    capture = Wire(world, "opus", device="any")
    olga.dial(f"sip:listens@{RINGFENCE}")
    until("the end of the call", lambda: olga.said("terminated|session closed"), 60)
    world.quiet()
    capture.stop()
    codec = reached(world, "listens", "udp", "off")
    check(codec.endswith(" opus"), f"the PBX was reached by {codec}")
    until("the record", lambda: world.firewall.last_call()["called"] == "listens", 10)
    call = world.firewall.last_call()
    done = (call["class"], call["action"], call["action_enforcement"])
    check(done == ("press_key", "divert", "done"), f"it was {done}")
    heard = f"callee heard {says(world.recording('pbx-listens'), 'callee-diverted')}; " + (
        f"caller heard {says(olga.recording(), 'caller-diverted')}"
    )
    listened = world.firewall.listens(capture.file)
    check("phrase `press one`" in listened and "\ndivert at " in listened, f"listen says: {listened}")
    later = listened.split("\ndivert at ")[1].split(":")[0]
    return f"{codec}; taken away after {call['action_at_ms'] / 1000:.1f} s; {heard}; its capture: divert at {later}"


def pictures(world):
    """video: VP8 of a telephone outside goes in and comes back as it was sent, stops on hold, ends with BYE"""
    more = (
        "module vp8.so\nmodule fakevideo.so\nvideo_source fakevideo,nil\nvideo_display fakevideo,nil\n"
        "video_size 176x144\nvideo_fps 10\nvideo_bitrate 100000\n"
    )
    vera = Phone(world, "vera", VERA, f"<sip:01632960007@{VERA}>;regint=0;video_codecs=VP8", more=more)
    wire = Wire(world, "pictures")
    vera.dial(f"sip:echo@{RINGFENCE}")
    time.sleep(TALK)
    vera.do("hold")
    time.sleep(0.5)
    held = time.time()
    time.sleep(1.5)
    resumed = time.time()
    vera.do("resume")
    time.sleep(TALK)
    vera.hang_up()
    world.quiet()
    over = time.time()
    time.sleep(1)
    wire.stop()
    packets = wire.packets()

    def arrive(start, source, destination):
        """At the address for video in a description."""
        at = described(packets, start, source, destination, "video")
        return [packet for packet in packets if packet.destination == at and is_rtp(packet)]

    sent = arrive("SIP/2.0 200", RINGFENCE, CAMERA), arrive("INVITE ", RINGFENCE, PBX)
    got = arrive("SIP/2.0 200", PBX, RINGFENCE), arrive("INVITE ", CAMERA, RINGFENCE)
    for way, here, there in zip(("in", "back"), sent, got):
        lost = len(here) - len(there)
        check([packet.payload for packet in here] == [packet.payload for packet in there], f"{way}: {lost} are lost")
        times = [packet.at for packet in there]
        parts = [sum(begin < at < end for at in times) for begin, end in [(0, held), (held, resumed), (resumed, over)]]
        check(min(parts[0], parts[2]) >= 30, f"{way}: {parts} packets before, on and after hold")
        check(parts[1] == 0 and max(times) < over, f"{way}: {parts} packets before, on and after hold, and after BYE")
    check(got[0][0].payload[1] & 127 >= 96, "it is no VP8")
    numbers = [len(part) for part in got]
    return f"{numbers[0]} packets in, {numbers[1]} back, each as it was sent; none on hold, none behind BYE"


CASES = [opus, pictures]
