"""Runs the `hutong` command and times it."""

import json
import subprocess
import time


def run(hutong, *arguments, stdin=None):
    """What the command prints with --json, as text and as a value, and the seconds that it took."""
    began = time.perf_counter()
    done = subprocess.run([hutong, *arguments, "--json"], input=stdin, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout, json.loads(done.stdout), seconds
