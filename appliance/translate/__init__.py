"""One dialect put into another: Messages in front of engines that speak chat, and chat in front of other providers.

    messages_request   a Messages request -> the chat request for one kind of engine
    conversation       its turns -> chat messages
    messages_reply     a whole chat answer -> a Message
    messages_stream    chat chunks, one by one -> Messages events
    messages_error     an engine's error -> the Messages envelope
    stop               why an answer ended, in the other dialect's words

    anthropic_request  a chat request -> the Messages request for Anthropic
    anthropic_reply    a whole Message, or an error, -> a chat completion
    anthropic_stream   Messages events, one by one -> chat chunks
    native_messages    Messages for Anthropic: the client's own, but for what is ours
    gemini             chat and embeddings for Gemini's OpenAI-compatible endpoint, and its whole answers repaired
    gemini_stream      its chunks, repaired

Why a room of its own: everything here is bytes or values in, bytes or values out, so that every conversation can be
tested whole, split anywhere, and without an engine. What does not belong here: sockets, clocks, which target a call
goes to, and the accounts of an exchange.
"""
