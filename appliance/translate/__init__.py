"""One dialect put into another: Anthropic Messages in front of engines that are asked for chat completions.

    messages_request   a Messages request -> the chat request for one kind of engine
    conversation       its turns -> chat messages
    messages_reply     a whole chat answer -> a Message
    messages_stream    chat chunks, one by one -> Messages events
    messages_error     an engine's error -> the Messages envelope
    stop               why an answer ended, in the other dialect's words

Why a room of its own: everything here is bytes or values in, bytes or values out, so that every conversation can be
tested whole, split anywhere, and without an engine. What does not belong here: sockets, clocks, which target a call
goes to, and the accounts of an exchange.
"""
