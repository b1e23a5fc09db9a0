# SPDX-License-Identifier: Apache-2.0
"""UDP echo of a service site: `echo.py ADDRESS=TEXT ...` listens on port 7 of each address and answers each
datagram with TEXT, a space and the datagram, from the address that was asked."""
import selectors
import socket
import sys

PORT = 7


def main(arguments):
    selector = selectors.DefaultSelector()
    for argument in arguments:
        address, _, text = argument.partition("=")
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        listener.bind((address, PORT))
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, text.encode() + b" ")
    while True:
        for key, _ in selector.select():
            answer(key.fileobj, key.data)


def answer(listener, prefix):
    while True:
        try:
            data, peer = listener.recvfrom(2048)
        except BlockingIOError:
            return
        try:
            listener.sendto(prefix + data, peer)
        except OSError as error:
            print(f"cannot answer {peer[0]}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
