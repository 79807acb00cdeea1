"""python3 eof_server.py: sends back what it has got when <EOF> has arrived. Prints its port first."""
import socketserver


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        text = b""
        while b"<EOF>" not in text:
            part = self.request.recv(1024)
            if not part:
                return
            text += part
        self.request.sendall(text)


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
