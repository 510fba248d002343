# SPDX-License-Identifier: GPL-2.0-only
"""A mirror on loopback that can be told to behave badly."""
import http.server
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        mirror = self.server.mirror
        name = self.path.lstrip("/")
        mirror.asked.append(name)
        answer = mirror.answers.get(name, mirror.otherwise)
        try:
            answer(self)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def give(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", len(body))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Mirror:
    """Its ANSWERS are functions of a Handler, by file name; ASKED has what was asked for."""

    def __init__(self):
        self.answers = {}
        self.asked = []
        self.released = threading.Event()
        self.otherwise = lambda request: request.give(404)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.mirror = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def serve(self, name, body, status=200, **headers):
        self.answers[name] = lambda request: request.give(status, body, **headers)

    def fail(self, status, **headers):
        self.answers.clear()
        self.otherwise = lambda request: request.give(status, **headers)

    def redirect_for_ever(self):
        self.answers.clear()
        self.otherwise = lambda request: request.give(302, Location=request.path + "x")

    def hang(self, name, said=b""):
        """Answers with a header, SAID, and then nothing more."""
        def answer(request):
            request.give(200, said, Content_Length=len(said) + 1000)
            request.wfile.flush()
            self.released.wait(300)
        self.answers[name] = answer

    def pour(self, name, said=b""):
        """An answer without end; it begins with SAID."""
        def answer(request):
            request.send_response(200)
            request.end_headers()
            request.wfile.write(said)
            while not self.released.is_set():
                request.wfile.write(b"0" * 65536)
        self.answers[name] = answer
