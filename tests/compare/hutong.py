#!/usr/bin/env python3
"""Turns the answer of `hutong bench handover --json` on standard input into a line for the table."""

import json
import sys

answer = json.load(sys.stdin)
figures = answer["figures"]["handover"]
took = figures["join_to_durable_s"]
print(json.dumps({
    "peer": f"Hutong {answer['machine']['version']}",
    "verifies": "each record: hash chain, one signature a run; folded",
    "durable": "fdatasync before it counts",
    "seconds": [took["min"], took["median"], took["max"]],
    "wire_bytes": [figures["wire"]["cold_bytes"]],
    "memory_bytes": figures["receiver_memory_peak_bytes"]["median"],
    "memory_of": "receiver",
}))
