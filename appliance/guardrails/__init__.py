"""What must not pass: checks on the text of requests and answers.

    verdict    what a check found, without the text it found
    prefixes   from a pattern to the pattern of everything that could still become a match of it
    detectors  personal data and secrets: patterns, checksums, placeholders
    words      one pattern for a list of words
    engines    what patterns run in, and a glance: whether a text may hold a match at all
    scanner    many patterns over one text: the next finding, and where an unfinished one may begin
    rules      the guardrails of a configuration, compiled
    check      what is wrong with them
    window     a streamed text: what may leave now, what has to wait for its next characters
    parts      a text in several parts, and what their borders cut in two
    json_text  the same for a text that is JSON, value by value
    answer     what a guard model said

Text in, text and findings out: no clock, no task, no socket. What does not belong here: which fields of a body hold
text (`wire` knows that), and asking a guard model, which takes a model server and is the gateway's work.

Every pattern runs in engines whose time grows with the text and never with the pattern's shape, so no text and no
configured pattern can hold up the loop for others. What a match is, RE2 says.
"""
