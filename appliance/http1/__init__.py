"""HTTP/1.1 as bytes: heads that we send to model servers, and replies that we read from them.

It exists so that framing can be tested byte by byte, without a socket. What does not belong here: sockets, deadlines,
connection reuse (that is `upstream`), and requests of our own clients (that is the door's parser).
"""
