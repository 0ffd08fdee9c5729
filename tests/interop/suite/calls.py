"""Calls as they are every day: both directions, hold, keys, early media, voicemail, codecs, transports."""

import time

from audio import heard, loud
from places import ANNA, PROVIDER, RINGFENCE, TONES
from process import check, fresh, until

TALK = 3.0
"""Seconds of talk in most cases; most of it must be in a recording."""


def hears(recording, whom, seconds=TALK - 1):
    """That a recording holds enough of somebody's tone, and of how much."""
    found = heard(fresh(recording), TONES.get(whom, whom))
    check(found.seconds >= seconds, f"{recording.name} holds {found} of {whom}, not {seconds:.1f} s")
    check(found.level > -3, f"{recording.name}: {whom} is too quiet, {found}")
    return found


def both(one, other):
    return f"callee heard {one}; caller heard {other}"


def in_by_address(world):
    """call in, trunk by address (baresip)"""
    anna = world.phones["anna"]
    answered = anna.dial(f"sip:1001@{RINGFENCE}")
    time.sleep(TALK)
    anna.hang_up()
    world.quiet()
    return f"answered after {answered * 1000:.0f} ms; " + both(
        hears(world.recording("pbx-1001"), "anna"), hears(anna.recording(), "pbx")
    )


def out_by_address(world):
    """call out, trunk by address (baresip)"""
    anna = world.phones["anna"]
    anna.mark()
    world.pbx.dial(f"out-udp/sip:01632960004@{ANNA}", "002@answered")
    until("the call at anna's", lambda: anna.said("Call established"))
    time.sleep(TALK)
    world.pbx.hang_up()
    world.quiet()
    return both(hears(anna.recording(), "pbx"), hears(world.recording("pbx-1002"), "anna"))


def registers(world):
    """a registration of Ringfence at the provider (Asterisk)"""
    took = until("the registration", lambda: world.firewall.trunk("provider") == "up")
    contacts = world.provider.cli("pjsip show contacts")
    check(f"441632960001@{RINGFENCE}" in contacts, f"the provider has no such contact: {contacts}")
    return f"up after {took:.1f} s, and the provider has the contact"


def in_registered(world):
    """call in, registered trunk, at the registered contact"""
    world.provider.dial("441632960001", "talk-1@answered")
    until("the call", lambda: world.pbx.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.provider.hang_up()
    world.quiet()
    return both(hears(world.recording("pbx-1441632960001"), "provider"), hears(world.recording("provider-1"), "pbx"))


def out_registered(world):
    """call out, registered trunk: the provider asks for the password, the PBX knows none"""
    world.pbx.dial(f"out-udp/sip:01632960003@{PROVIDER}", "003@answered")
    until("the call", lambda: world.provider.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.pbx.hang_up()
    world.quiet()
    return both(
        hears(world.recording("provider-01632960003"), "pbx"), hears(world.recording("pbx-1003"), "provider")
    )


def holds(phone):
    """A telephone holds its call for two seconds; its own Asterisk tells the other side."""
    time.sleep(1.5)
    for order, attribute in [("hold", "a=recvonly"), ("resume", "a=sendrecv")]:
        phone.mark()
        phone.do(order)
        until(f"the answer to {order}", lambda: phone.said(f"SIP/2.0 200 [^#]*{attribute}"))
        time.sleep(2 if order == "hold" else TALK)


def again(recording, whom):
    """That somebody was heard before the hold and after it, and not meanwhile. (Where nothing comes, a recording has
    a gap, or stands still.)"""
    found = hears(recording, whom, TALK + 0.5)
    check(found.seconds < TALK + 2.5, f"{recording.name}: {whom} was on hold for two seconds, heard {found}")
    return found


def hold_by_the_caller(world):
    """hold and resume by the caller, a telephone of the provider's"""
    far = world.phones["301"]
    far.dial(f"sip:1051@{PROVIDER}")
    holds(far)
    far.hang_up()
    world.quiet()
    return both(again(world.recording("pbx-1051"), "301"), again(world.recording("provider-301"), "pbx"))


def hold_by_the_callee(world):
    """hold and resume by the callee, a telephone of the PBX's"""
    desk = world.phones["201"]
    desk.mark()
    world.provider.dial("201@plain", "talk-201@answered")
    until("the call", lambda: desk.said("Call established"))
    holds(desk)
    desk.hang_up()
    world.quiet()
    return both(again(world.recording("pbx-201"), "provider"), again(world.recording("provider-201"), "201"))


def keys(world, way, extension):
    """Four keys from the provider, one way or another."""
    world.provider.dial(f"{extension}@keys-{way}", "keys@answered")
    file = world.work / f"keys-{extension}"
    # It is there before anything is in it.
    until("the keys", lambda: file.exists() and file.read_text(), 25)
    found = file.read_text().removeprefix("read ")
    world.provider.hang_up()
    check(found == "4271", f"4271 was pressed, Asterisk read {found}")
    return "Asterisk read 4271"


def keys_by_events(world):
    """keys as telephone events (RFC 4733)"""
    return keys(world, "4733", "4001")


def keys_by_info(world):
    """keys by SIP INFO"""
    return keys(world, "info", "4002")


def keys_in_band(world):
    """keys as tones in the audio"""
    return keys(world, "inband", "4003")


def early_media(world):
    """early media: an announcement without an answer, then busy"""
    anna = world.phones["anna"]
    anna.mark()
    anna.do(f"dial sip:3001@{RINGFENCE}")
    until("the end of the attempt", lambda: anna.said("session closed: 486"))
    check(not anna.said("Call established"), "it was answered")
    check(anna.said("SIP/2.0 183 "), "there was no 183")
    return f"183, caller heard {hears(anna.recording(), 'pbx')}, then 486"


def voicemail(world):
    """voicemail: the caller hears the greeting, leaves a message"""
    anna = world.phones["anna"]
    anna.dial(f"sip:5001@{RINGFENCE}")
    file = world.pbx.folder / "spool/voicemail/default/500/INBOX/msg0000.wav"
    partial = file.parent.parent / "tmp"
    until("the beep", lambda: any(partial.glob("*.wav")))
    time.sleep(TALK + 0.5)
    greeting = loud(anna.recording())
    check(greeting > 1.5, f"the greeting was {greeting:.1f} s")
    anna.hang_up()
    until("the message", file.exists)
    world.quiet()
    return f"greeting of {greeting:.1f} s; the message holds {hears(file, 'anna')}"


def wide(world):
    """G.722: a tone of 5 kHz, which no narrow codec carries"""
    world.provider.dial("8001@wide", "wide@answered")
    until("the call", lambda: world.pbx.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.provider.hang_up()
    world.quiet()
    return both(hears(world.work / "pbx-8001.wav16", 5000), hears(world.work / "provider-wide.wav16", 5000))


def registered(world, parameter):
    """Whether the provider has our contact with this parameter."""
    contacts = world.provider.cli("database show registrar").splitlines()
    return any(f"sip:441632960001@{RINGFENCE}" in line and parameter in line for line in contacts)


def over(world, transport, number, srtp="off"):
    """Both directions with PBX and provider over another transport, by a reload of the settings."""
    # The registration moves with its next refresh; calls need not wait for it.
    world.firewall.reload(transport=transport, srtp=srtp)
    lines = []
    world.provider.dial(f"9{number}@by-{transport}", f"talk-{number}@answered")
    until("the call in", lambda: world.pbx.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.provider.hang_up()
    world.quiet()
    lines.append(reached(world, f"9{number}", transport, srtp))
    lines.append("in: " + both(
        hears(world.recording(f"pbx-1{number}"), "provider"), hears(world.recording(f"provider-{number}"), "pbx")
    ))
    world.pbx.dial(f"out-{transport}/sip:0{number}@{PROVIDER}", f"{number}0@answered")
    until("the call out", lambda: world.provider.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.pbx.hang_up()
    world.quiet()
    lines.append(reached(world, f"0{number}", transport, srtp))
    lines.append("out: " + both(
        hears(world.recording(f"provider-0{number}"), "pbx"), hears(world.recording(f"pbx-1{number}0"), "provider")
    ))
    return "; ".join(lines)


def reached(world, number, transport, srtp):
    """How a callee was reached, by its own note."""
    via, encrypted, codec = fresh(world.work / f"reached-{number}").read_text().split()
    codec = codec.strip("()")
    check(via == f"SIP/2.0/{transport.upper()}", f"{number} was reached by {via}")
    check(encrypted == ("0" if srtp == "off" else "1"), f"{number}: encrypted says {encrypted}")
    return f"{via}, {'encrypted' if encrypted == '1' else 'plain'} {codec}"


def by_tcp(world):
    """TCP on both sides"""
    return over(world, "tcp", "031")


def by_tls(world):
    """TLS with SRTP on both sides, certificates checked; the registration moves there with its next refresh"""
    figures = over(world, "tls", "041", srtp="require")
    took = until("the registration over tls", lambda: registered(world, ":5061;"), 90)
    return f"{figures}; registered there {took:.0f} s later"


def back_to_udp(world):
    """back to UDP by a reload"""
    world.firewall.reload()
    took = until("the registration over udp", lambda: registered(world, ":5060;line="), 90)
    return f"registered there after {took:.0f} s; {in_registered(world)}"


CASES = [
    in_by_address,
    out_by_address,
    registers,
    in_registered,
    out_registered,
    hold_by_the_caller,
    hold_by_the_callee,
    keys_by_events,
    keys_by_info,
    keys_in_band,
    early_media,
    voicemail,
    wide,
    by_tcp,
    by_tls,
    back_to_udp,
]
