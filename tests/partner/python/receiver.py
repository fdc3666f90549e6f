"""A receiver of webhooks: refuses the first messages, then takes each id once. Verifies every signature with nothing
but Python's own hmac, as Standard Webhooks describes it.

usage: receiver.py FOLDER   writes FOLDER/port; reads the signing secret from FOLDER/secret; writes FOLDER/told.json
"""

import base64
import hmac
import http.server
import json
import pathlib
import sys
import time

REFUSED_FIRST = 3
TOLERANCE_SECONDS = 300

folder = pathlib.Path(sys.argv[1])
told = {"posts": 0, "refused": 0, "forged": 0, "repeats": 0, "messages": {}}


def is_genuine(headers, body):
    secret = base64.b64decode((folder / "secret").read_text().strip().removeprefix("whsec_"))
    stamp = headers["webhook-timestamp"]
    signed = f"{headers['webhook-id']}.{stamp}.".encode() + body
    expected = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
    given = [part.removeprefix("v1,") for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    fresh = abs(time.time() - int(stamp)) < TOLERANCE_SECONDS
    return fresh and any(hmac.compare_digest(expected, one) for one in given)


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        told["posts"] += 1
        if not is_genuine(self.headers, body):
            told["forged"] += 1
            status = 401
        elif told["refused"] < REFUSED_FIRST:
            told["refused"] += 1
            status = 503
        else:
            message = self.headers["webhook-id"]
            told["repeats"] += message in told["messages"]
            told["messages"][message] = json.loads(body)["type"]
            status = 204
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()
        fresh = folder / "told.new"
        fresh.write_text(json.dumps(told))
        fresh.rename(folder / "told.json")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
(folder / "port").write_text(str(server.server_address[1]))
server.serve_forever()
