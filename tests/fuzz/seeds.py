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


def main() -> None:
    vectors = pathlib.Path(__file__).parent.parent / "vectors"
    seeds = pathlib.Path(sys.argv[1])
    seeds.mkdir(parents=True, exist_ok=True)
    for file in sorted(vectors.glob("*.json")):
        for case in json.loads(file.read_text()):
            for value in case.values():
                if isinstance(value, str):
                    for data in inputs(value):
                        (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


main()
