"""HTTP/1.1 as bytes: what our clients send us, what we send to model servers, and what those reply.

    incoming    the head of a client's request, read strictly
    repeated    the heads of one connection, each read once however often it comes
    chunked     a client's chunked body, read strictly
    request     the head of a request of ours to a model server
    response    a model server's reply

It exists so that framing can be tested byte by byte, without a socket. What does not belong here: sockets, deadlines,
connection reuse (those are `door` for clients and `upstream` for model servers), and what a request means (`api`).
"""
