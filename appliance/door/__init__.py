"""Where connections arrive. Every byte of a client is read here first.

    listener      binds, accepts within bounds, keeps one connection's failure from the others
    reception     takes in each accepted connection and knows all that are open
    connection    one connection from its first byte to its last: read, answer in order, or hand over
    surroundings  what all connections share
    body          a request's body, read when the endpoint asks for it
    reply         a reply as bytes
    transport     a raw socket on Trio's event loop
    tls           the same after a TLS handshake; `client_hello` reads the name that the client asks for
    certificates  which certificate is shown; exchanged while connections go on
    watch         clients that leave and deadlines that pass, without a task or a timer for each
    handover      gives a connection to Hypercorn inside a boundary, with bounded writes

Why not Hypercorn alone: one unauthenticated packet ends a bare Hypercorn process under Trio, a reader that stops
reading blocks its shutdown for ever, and it costs many times what a request may cost. What is in the route table is
answered here; pages, websockets and HTTP/2 are handed over, with the bytes that were read already. The endpoints are
the same functions behind both.

What does not belong here: what a request means (`api`), and HTTP grammar (`http1`).
"""
