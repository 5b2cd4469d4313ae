"""JSON on the wire: from a client's bytes to a Call, and from our values to the bytes that a client gets.

    openai_request   the body of a request -> Call, and the body that an engine gets
    chunk            one event of a streamed answer
    reply            a whole answer
    texts            where the texts of a body are, and a body with other texts
    affinity         what requests have in common that share a beginning
    error_body       an error of ours
    realtime         what is read of a realtime session
    models           the model list

Only the fields that we act on are looked at; everything else is passed on byte for byte, so that a new parameter of an
engine works on the day it appears. What does not belong here: sockets, clocks, and decisions about where a call goes.
"""
