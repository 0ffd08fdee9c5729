"""Tones to send, and how much of one is in a recording."""

import array
import math
import wave

FRAME = 0.02
"""Seconds that are judged at a time."""


def write_tone(path, hertz, seconds, rate=8000):
    """A quarter of full scale, -15 dB as a sine, in whole periods."""
    step = 2 * math.pi * hertz / rate
    samples = array.array("h", (int(8192 * math.sin(step * n)) for n in range(int(seconds * rate))))
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())


class Heard:
    """What a recording has of one tone."""

    def __init__(self, seconds, level, gap, length):
        self.seconds, self.level, self.gap, self.length = seconds, level, gap, length

    def __str__(self):
        return f"{self.seconds:.1f} s at {self.level:+.1f} dB, longest gap {self.gap * 1000:.0f} ms"


def read(path):
    """Samples of the first channel and their rate. A recorder that is still at work has written no length yet: all there
    is counts."""
    with open(path, "rb") as file:
        data = file.read()
    at = data.find(b"data")
    if data[:4] != b"RIFF" or at < 0:
        return array.array("h"), 8000
    channels, rate = data[22], int.from_bytes(data[24:28], "little")
    body = data[at + 8 :]
    return array.array("h", body[: len(body) // 2 * 2])[::channels], rate


def share(frame, hertz, rate):
    """How much of a frame's power is at one frequency (Goertzel), and the frame's level against full scale."""
    power = sum(sample * sample for sample in frame) / len(frame)
    if power < 100:
        return 0.0, -90.0
    turn = 2 * math.cos(2 * math.pi * hertz / rate)
    last = before = 0.0
    for sample in frame:
        last, before = sample + turn * last - before, last
    found = (last * last + before * before - turn * last * before) * 2 / len(frame) ** 2
    return found / power, 10 * math.log10(power / 32768**2)


def heard(path, hertz):
    """Seconds of the tone, its level against the level that was sent, and the longest gap within it."""
    samples, rate = read(path)
    size = int(FRAME * rate)
    levels, at = [], []
    frames = len(samples) // size
    for n in range(frames):
        part, level = share(samples[n * size : (n + 1) * size], hertz, rate)
        if part > 0.8 and level > -35:
            at.append(n)
            levels.append(level)
    if not at:
        return Heard(0.0, -90.0, 0.0, frames * FRAME)
    gap = max((b - a - 1 for a, b in zip(at, at[1:])), default=0)
    sent = 20 * math.log10(8192 / math.sqrt(2) / 32768)
    return Heard(len(at) * FRAME, sorted(levels)[len(levels) // 2] - sent, gap * FRAME, frames * FRAME)


def loud(path):
    """Seconds that are not silence."""
    samples, rate = read(path)
    size = int(FRAME * rate)
    frames = (samples[at : at + size] for at in range(0, len(samples) - size, size))
    return sum(max(map(abs, frame)) > 500 for frame in frames) * FRAME


def loudness(path):
    """Of each frame in dB, where -60 is silence."""
    samples, rate = read(path)
    size = int(FRAME * rate)
    frames = (samples[at : at + size] for at in range(0, len(samples) - size, size))
    powers = (sum(sample * sample for sample in frame) / size for frame in frames)
    return [max(-60.0, 10 * math.log10(power / 32768**2 + 1e-9)) for power in powers]


def likeness(heard, said):
    """How much of what was heard goes as what was said (both by their loudness), where it does so best: 1 is all."""
    # Where nothing is sent, nothing is recorded: a pause at either end may be missing.
    silence = [-60.0] * int(1 / FRAME)
    heard = [*silence, *heard, *silence]
    best, mean = 0.0, sum(said) / len(said)
    said = [level - mean for level in said]
    power = sum(level * level for level in said)
    for at in range(len(heard) - len(said) + 1):
        part = heard[at : at + len(said)]
        mean = sum(part) / len(part)
        other = sum((level - mean) ** 2 for level in part)
        if other > 0:
            best = max(best, sum(a * (b - mean) for a, b in zip(said, part)) / math.sqrt(power * other))
    return best
