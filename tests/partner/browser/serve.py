"""Serves the page, and keeps what it posts back.

usage: serve.py PORT TOLD   serves this folder; writes the first POST's body to the file TOLD
"""

import http.server
import pathlib
import sys

BODY_BYTES_MAX = 64 * 1024


class Page(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=pathlib.Path(__file__).parent)

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers["content-length"]), BODY_BYTES_MAX))
        fresh = pathlib.Path(sys.argv[2] + ".new")
        fresh.write_bytes(body.strip() + b"\n")
        fresh.rename(sys.argv[2])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
