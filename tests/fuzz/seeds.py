"""Writes every value of the golden vectors as one input file: what is sound is where mutation starts best."""

import hashlib
import json
import pathlib
import sys

HEX = set("0123456789abcdef")


def inputs(value: str):
    yield value.encode()
    if value and len(value) % 2 == 0 and set(value) <= HEX:
        yield bytes.fromhex(value)


def conversation(cases: list[dict]) -> bytes:
    """All frames, each from both peers in turn, each after its length: what the target `sync_frames` reads."""
    frames = [bytes.fromhex(case["frame"]) for case in cases]
    return b"".join(2 * (len(frame).to_bytes(2, "little") + frame) for frame in frames)


def records(cases: list[dict]) -> bytes:
    """All messages, each after its kind, its audience (all) and its length: what the target `fold` reads."""
    messages = [(case["kind"], bytes.fromhex(case["message"])) for case in cases]
    return b"".join(bytes([kind, 0]) + len(message).to_bytes(2, "little") + message for kind, message in messages)


def main() -> None:
    vectors = pathlib.Path(__file__).parent.parent / "vectors"
    seeds = pathlib.Path(sys.argv[1])
    seeds.mkdir(parents=True, exist_ok=True)
    for file in sorted(vectors.glob("*.json")):
        cases = json.loads(file.read_text())
        texts = [value for case in cases for value in case.values() if isinstance(value, str)]
        for data in (data for text in texts for data in inputs(text)):
            (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        if file.name == "frame.json":
            (seeds / "conversation").write_bytes(conversation(cases))
        if file.name == "credit_line.json":
            (seeds / "records").write_bytes(records(cases))


main()
