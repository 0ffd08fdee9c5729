"""Transfers: blind ones (REFER) and attended ones (REFER with Replaces), from either side of Ringfence."""

import time
import urllib.parse

from calls import TALK, hears
from phones import header, tag
from places import PBX, RINGFENCE
from process import check, until


def blind_from_inside(world):
    """blind transfer by the PBX's telephone: 201 sends a caller on to somebody outside"""
    anna, desk = world.phones["anna"], world.phones["201"]
    anna.dial(f"sip:201@{RINGFENCE}")
    time.sleep(1)
    desk.do(f"transfer sip:0301@{PBX}")
    until("the call at the provider", lambda: world.provider.calls() == 1 + world.lasting)
    time.sleep(TALK)
    anna.hang_up()
    world.quiet()
    return f"caller hears the provider: {hears(anna.recording(), 'provider')}; the provider hears the caller: " + str(
        hears(world.recording("provider-0301"), "anna")
    )


def blind_from_outside(world):
    """blind transfer by the telephone outside, through Ringfence: it sends 201 on to 1020"""
    anna, desk = world.phones["anna"], world.phones["201"]
    anna.dial(f"sip:201@{RINGFENCE}")
    time.sleep(1)
    anna.mark()
    anna.do(f"transfer sip:1020@{RINGFENCE}")
    until("the end of the transferor's call", lambda: anna.said("terminated"))
    time.sleep(TALK)
    desk.hang_up()
    world.quiet()
    return f"201 hears 1020: {hears(desk.recording(), 'pbx')}; 1020 hears 201: " + str(
        hears(world.recording("pbx-1020"), "201")
    )


def asked_by_the_pbx(world, extension, whom):
    """The PBX answers, then sends a REFER to the caller: who hears whom afterwards."""
    anna = world.phones["anna"]
    anna.dial(f"sip:{extension}@{RINGFENCE}")
    anna.mark()
    until("the transfer", lambda: anna.said("Call established"))
    time.sleep(TALK)
    found = hears(anna.recording(), whom)
    anna.do("hangupall")
    world.quiet()
    status = (world.work / f"transfer-{extension}").read_text().strip()
    check(status == "SUCCESS", f"the PBX was told {status}")
    return f"the PBX was told {status}; caller hears the new one: {found}"


def pbx_sends_caller_away(world):
    """blind transfer by the PBX (REFER to the caller): to somebody outside"""
    return asked_by_the_pbx(world, "6001", "provider")


def pbx_sends_caller_back(world):
    """blind transfer by the PBX (REFER to the caller): to another extension of its own"""
    return asked_by_the_pbx(world, "7021", "pbx")


def replaces(answer):
    """What stands for a dialog in a Refer-To: that of this answer to our own INVITE."""
    ours, theirs = tag(header(answer, "From")), tag(header(answer, "To"))
    text = f"{header(answer, 'Call-ID')};to-tag={theirs};from-tag={ours}"
    return "?Replaces=" + urllib.parse.quote(text, safe="")


def attended(phone, first, second):
    """Two calls of one telephone, the first on hold, are joined."""
    phone.dial(first)
    time.sleep(1)
    phone.do("hold")
    time.sleep(0.5)
    phone.dial(second)
    time.sleep(1)
    answer = phone.answer_to_invite(second[4:].split("@")[0])
    phone.mark()
    phone.do("line 1")
    phone.do(f"transfer <{second}{replaces(answer)}>")
    until("the end of both calls", lambda: phone.said("terminated.*terminated"))
    time.sleep(TALK)


def attended_from_inside(world):
    """attended transfer by the PBX's telephone: 201 joins two that it called outside"""
    anna, desk = world.phones["anna"], world.phones["201"]
    attended(desk, f"sip:0401@{PBX}", f"sip:0502@{PBX}")
    anna.hang_up()
    world.quiet()
    second = hears(world.recording("provider-0502"), "anna")
    # A baresip that was on hold does not record any more: this direction with one that does.
    attended(desk, f"sip:0503@{PBX}", f"sip:0304@{PBX}")
    world.provider.hang_up()
    world.quiet()
    first = hears(world.recording("provider-0503"), "provider")
    return f"the first hears the second: {first}; the second the first: {second}"


def attended_from_outside(world):
    """attended transfer by the telephone outside, through Ringfence: it joins 201 and 202"""
    anna, desk, door = (world.phones[name] for name in ("anna", "201", "202"))
    attended(anna, f"sip:201@{RINGFENCE}", f"sip:202@{RINGFENCE}")
    found = f"201 hears 202: {hears(desk.recording(), '202')}; 202 hears 201: {hears(door.recording(), '201')}"
    desk.do("hangupall")
    world.quiet()
    return found


CASES = [
    blind_from_inside,
    blind_from_outside,
    pbx_sends_caller_away,
    pbx_sends_caller_back,
    attended_from_inside,
    attended_from_outside,
]
