"""What fails and comes back: the provider, the PBX. And what is left at the end."""

import time

from calls import TALK, both, hears
from phones import Sipp
from places import RINGFENCE
from process import check, until


def begin_lasting(world):
    """a call with a session timer of 90 s begins, and lasts through all that follows"""
    world.provider.dial("1900@timer", "talk-lasting@answered")
    until("the call", lambda: world.pbx.calls() == 1)
    world.begun = time.monotonic()
    world.lasting = 1
    for asterisk in (world.pbx, world.provider):
        asterisk.lasting = asterisk.channels()
    return "answered"


def end_lasting(world):
    """the call with the session timer is still there, was refreshed, and was heard throughout"""
    time.sleep(max(0, 100 - (time.monotonic() - world.begun)))
    lasted = time.monotonic() - world.begun
    calls = [call for call in world.firewall.calls()]
    check(world.pbx.calls() == 1 and len(calls) == 1, f"it is not there any more: {calls}")
    refreshed = world.provider.refreshes(90)
    world.lasting = 0
    world.pbx.lasting = world.provider.lasting = set()
    world.provider.hang_up()
    world.quiet()
    check(refreshed >= 2, f"{refreshed} refreshes in {lasted:.0f} s")
    there = hears(world.recording("pbx-1900"), "provider", lasted * 0.95)
    back = hears(world.recording("provider-lasting"), "pbx", lasted * 0.95)
    return f"{lasted:.0f} s, {refreshed} refreshes; {both(there, back)}"


def branch_registers(world):
    """the PBX itself registers at the provider, through Ringfence, and is called there"""
    until("the registration", lambda: f"110@{RINGFENCE}" in world.provider.cli("pjsip show contacts"))
    world.provider.dial("branch", "talk-branch@answered")
    until("the call", lambda: world.pbx.calls() == 1 + world.lasting)
    time.sleep(TALK + 0.5)
    world.provider.hang_up()
    world.quiet()
    return both(hears(world.recording("pbx-110"), "provider"), hears(world.recording("provider-branch"), "pbx"))


def provider_crashes(world):
    """the provider crashes and forgets its registrations"""
    world.provider.kill()
    for file in (world.provider.folder / "db").glob("*"):
        file.unlink()
    world.crashed = time.monotonic()
    return "killed"


def provider_is_missed(world):
    """Ringfence has noticed that the provider is gone"""
    until("Ringfence to notice", lambda: world.firewall.trunk("provider") != "up", 90)
    noticed = time.monotonic() - world.crashed
    state = world.firewall.trunk("provider")
    world.provider.start()
    world.restarted = time.monotonic()
    return f"{state}, at the latest after {noticed:.0f} s; the provider starts again"


def provider_is_back(world):
    """Ringfence has registered again by itself, and calls come in"""
    until("the registration", lambda: world.firewall.trunk("provider") == "up", 180)
    until("the contact", lambda: f"441632960001@{RINGFENCE}" in world.provider.cli("pjsip show contacts"), 60)
    took = time.monotonic() - world.restarted
    world.recording("pbx-1441632960001").unlink(missing_ok=True)
    world.provider.dial("441632960001", "talk-back@answered")
    until("the call", lambda: world.pbx.calls() == 1)
    time.sleep(TALK + 0.5)
    world.provider.hang_up()
    world.quiet()
    there, back = world.recording("pbx-1441632960001"), world.recording("provider-back")
    return f"at the latest {took:.0f} s after its start; {both(hears(there, 'provider'), hears(back, 'pbx'))}"


def pbx_down(world):
    """the PBX is down: every call is refused with 503 in the end, and nothing piles up"""
    world.pbx.kill()
    anna = world.phones["anna"]
    sipp = Sipp(world, "down", "echo", "-m", 50, "-r", 25)
    anna.mark()
    anna.do(f"dial sip:1071@{RINGFENCE}")
    took = until("the refusal", lambda: anna.said("session closed: 503"))
    begun = time.monotonic()
    good, failed = sipp.ended(30)
    rest = time.monotonic() - begun
    check((good, failed) == (0, 50), f"{good} good calls, {failed} failed")
    world.quiet()
    return f"503 after {took:.1f} s; {failed} more at 25 a second likewise, {rest:.1f} s later at most; no call is left"


def pbx_returns(world):
    """the PBX is back: its registration through Ringfence, its telephones, a call in each direction"""
    began = time.monotonic()
    world.pbx.start()
    until("the registration", lambda: "Registered" in world.pbx.cli("pjsip show registrations"), 60)
    took = time.monotonic() - began
    return f"registered {took:.1f} s after its start; " + branch_registers(world)


def nothing_left(world):
    """nothing is left: no call, ear, port or media, and of transactions those of registrations and keep-alives alone"""
    begun = time.monotonic()
    while time.monotonic() - begun < 60:
        left = world.firewall.tables()
        transactions = sum(left.pop(f"{kind}_transactions", 0) for kind in ("server", "client"))
        if not left and transactions <= 8:
            break
        time.sleep(0.5)
    check(not left and transactions <= 8, f"after a minute there are still {left} and {transactions:.0f} transactions")
    internal = {name: value for name, value in world.firewall.metrics().items() if '"internal"' in name}
    check(len(internal) >= 2 and not any(internal.values()), f"faults: {internal}")
    return f"after {time.monotonic() - begun:.0f} s, {transactions:.0f} transactions"


CASES = [provider_is_missed, pbx_down, pbx_returns, provider_is_back, nothing_left]
