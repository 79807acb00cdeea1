"""python3 eof_client.py PORT: sends, receives until the server closes, prints."""
import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20) as client:
    client.sendall(b"This is a test<EOF>")
    response = b"".join(iter(lambda: client.recv(256), b""))
print("Response received :", response.decode("ascii"))
