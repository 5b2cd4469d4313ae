"""The path of a request, from a parsed call to the last byte.

    pipeline     the story: may the caller, which model, which targets, one or two attempts, the reply
    attempts     one extra attempt at most, before the first byte, where that is safe
    provider_leg a request to a cloud provider and its reply, in the terms of the rest (`converted_reply`)
    fitting      which targets may be asked this at all: what stays on the box, what only one dialect can carry
    queues       waiting for a slot, fairly
    trials       suspects of a crash wait for their turn
    outcomes     what follows from the end of an attempt: slots, breakers, suspects
    early        a stream that begins before its answer, because it has to wait
    relay        whole events from the engine to the client, with the end checked
    responses    the same for a streamed response, `opaque` for sound and other events
    realtime     two websockets, and every message of either passed to the other
    translated   the same for clients of another dialect (`native`: from the provider that speaks it)
    guarding     what guardrails do to a request and to a whole answer; whom a guard model is asked through
    guarded_reply, guarded_stream, guarded_events    the same for a streamed answer, in front of the relay
    counting     how many tokens a request has, asked of its engine
    accounting   one account per exchange, settled exactly once
    listing      the model list
    served       what the headers of an answer tell about how it came about

It receives a `Runtime` and never imports the supervisor. What does not belong here: sockets, clients' framing,
choosing targets (`routing`), wording of error bodies (`wire`).
"""
