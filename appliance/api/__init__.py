"""The inference API: from an HTTP request to a reply, one route table, any door.

    routes      path and method to endpoint, as data; both prefixes
    endpoints   the endpoints: authenticate, parse, ask the gateway
    realtime    sessions over a websocket
    handshake   a websocket as ASGI gives it; `socket_app` brings it to whoever serves its path
    reply       errors and headers as a Reply
    quart_app   the door that Quart is: the same table under Quart-Trio

Endpoints know neither Quart nor llhttp. What does not belong here: choosing targets, waiting for models.
"""
