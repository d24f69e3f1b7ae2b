"""Plays a container: a small server on EDITX_PORT whose /readyz refuses some times before it is ready.

`server.py REFUSALS`: how often, negative for ever. `server.py die`: says a few things and ends at once.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

REASON = "the queue is full: 64 requests are waiting"


class Answers(BaseHTTPRequestHandler):
    refusals = 0

    def do_GET(self) -> None:
        refused = Answers.refusals != 0
        Answers.refusals -= refused
        body = json.dumps({"error": {"message": REASON}} if refused else {"status": "ready"}).encode()
        self.send_response(503 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1] == "die":
        print("\n".join(f"line {number}" for number in range(1, 61)), flush=True)
        sys.exit("error: the data directory cannot be written")
    Answers.refusals = int(sys.argv[1])
    HTTPServer((os.environ["EDITX_HOST"], int(os.environ["EDITX_PORT"])), Answers).serve_forever()
