#!/usr/bin/env python3
"""A web server that answers with the head it was asked with, or points elsewhere: /to?http://other/ is a redirection.

    echo-server.py LOG [CERTIFICATE KEY]

Prints its port, serves on this machine's loopback until it is ended, and writes each head to LOG. With a certificate it speaks
TLS, by OpenSSL: another implementation than the one that asks. It needs nothing but Python.
"""
import http.server
import ssl
import sys


class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        head = f"{self.command} {self.path}\n{self.headers}"
        with open(sys.argv[1], "a", encoding="utf-8") as log:
            log.write(head)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = head.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2], sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
