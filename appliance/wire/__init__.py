"""JSON on the wire: from a client's bytes to a Call, and from our values to the bytes that a client gets.

    openai_request   the body of a request for text or embeddings -> Call
    named_request    the same where the model's name is what matters: responses, rerank, speech and more
    form             the same for a form with a recording
    members          single members of a body: what each must be
    watched          members that can hurt an engine or others
    overrides        what a model's owner changes in requests for it
    outgoing         the body that an engine gets
    chunk            one event of a streamed chat or completion; `token_shape`: many of them at once
    response_event   one event of a streamed response; `response_filler` adds what an engine leaves out
    no_route         whether a refusal means that the engine has no such route
    reply            a whole answer
    texts            where the texts of a body are, and a body with other texts
    run_together     all texts of a body at once, for who wants to know that there is nothing in any of them
    affinity         what requests have in common that share a beginning
    error_body       an error of ours
    realtime         what is read of a realtime session
    models           the model list

Only the fields that we act on are looked at; everything else is passed on byte for byte, so that a new parameter of an
engine works on the day it appears. What does not belong here: sockets, clocks, and decisions about where a call goes.
"""
