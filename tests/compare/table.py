#!/usr/bin/env python3
"""Prints one table of what the peers measured: a line of JSON each on standard input, Hutong's first."""

import json
import statistics
import sys

HEAD = ["peer", "verifies", "durable", "time, s", "on the wire, bytes", "peak memory, MB", "times Hutong's time"]


def number(value, form):
    return "-" if value is None else format(value, form)


def row(peer, reference):
    if "unavailable" in peer:
        return [peer["peer"], f"not measured: {peer['unavailable']}"] + ["-"] * 5
    seconds = statistics.median(peer["seconds"])
    spread = f"{seconds:.2f} ({min(peer['seconds']):.2f} to {max(peer['seconds']):.2f})"
    if peer.get("failed_runs"):
        spread += f"; {peer['failed_runs']} more failed"
    wire = statistics.median(peer["wire_bytes"]) if peer.get("wire_bytes") else None
    memory = peer.get("memory_bytes")
    return [
        peer["peer"],
        peer["verifies"],
        peer["durable"],
        spread,
        number(wire, ",.0f"),
        number(memory and memory / 1e6, ".0f") + (f", {peer['memory_of']}" if memory else ""),
        number(reference and seconds / reference, ".1f"),
    ]


def main():
    peers = [json.loads(line) for line in sys.stdin if line.strip()]
    first = next((peer for peer in peers if "seconds" in peer), None)
    is_hutong = first is not None and first["peer"].startswith("Hutong")
    reference = statistics.median(first["seconds"]) if is_hutong else None
    rows = [HEAD, ["---"] * len(HEAD)] + [row(peer, reference) for peer in peers]
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


main()
