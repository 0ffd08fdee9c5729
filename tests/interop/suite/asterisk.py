"""An Asterisk of this suite: the PBX behind Ringfence, or the provider outside."""

import re
import subprocess

from process import HERE, PATIENCE, ROOT, Process, filled, until


class Asterisk:
    """One Asterisk in the folder that holds its Debian, with settings and files of its own."""

    def __init__(self, world, name):
        self.world, self.name, self.process = world, name, None
        self.lasting = set()
        """Channels of calls that go on across cases."""
        self.folder = world.work / name
        for part in ("run", "log", "spool/voicemail", "db"):
            (self.folder / part).mkdir(parents=True)
        self.inside = f"{world.inside}/{name}"
        modules = next((ROOT / "usr/lib").glob("*/asterisk/modules"))
        words = {"WORK": world.inside, "HERE": self.inside, "MODULES": f"/{modules.relative_to(ROOT)}"}
        for source in [*(HERE / name).glob("*.conf"), *(HERE / "asterisk-common").glob("*.conf")]:
            (self.folder / source.name).write_text(filled(source, words))

    def start(self):
        command = ["chroot", ROOT, "/usr/sbin/asterisk", "-C", f"{self.inside}/asterisk.conf", "-f", "-n"]
        self.process = Process(command, self.folder / "console.log")
        took = until(f"{self.name}'s start", lambda: "fully booted" in self.cli("core waitfullybooted").lower())
        self.cli("pjsip set logger on")
        return took

    def cli(self, order):
        command = ["chroot", ROOT, "/usr/sbin/asterisk", "-C", f"{self.inside}/asterisk.conf", "-rx", order]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
        return done.stdout

    def dial(self, channel, then):
        """Calls somebody, who is sent to a place in the dialplan on answering."""
        self.cli(f"channel originate PJSIP/{channel} extension {then}")

    def refreshes(self, interval):
        """How often a session timer of so many seconds was refreshed and that answered, by the log of messages."""
        text = (self.folder / "log/full").read_text(errors="replace")
        answers = re.findall(r"^SIP/2\.0 200 .*\n(?:.+\n)*?Session-Expires: (\d+);", text, re.M)
        return answers.count(str(interval)) - 1

    def calls(self):
        if not self.process.runs():
            return 0
        found = re.search(r"^(\d+) active calls?", self.cli("core show channels"), re.M)
        return int(found.group(1)) if found else -1

    def channels(self):
        lines = self.cli("core show channels concise").splitlines()
        return {line.split("!")[0] for line in lines if "!" in line}

    def hang_up(self):
        """Ends all calls but the lasting ones."""
        for channel in self.channels() - self.lasting:
            self.cli(f"channel request hangup {channel}")

    def stop(self):
        if self.process:
            self.process.stop()

    def kill(self):
        self.process.kill()
