"""Members of a request that may hold something else than a text, or a text that is not all of one.

As they stand in JSON. Those who look through a body as a whole have to look closer where one of them is.
"""

PROMPT = '"prompt'  # so begins every one that may hold numbers of tokens, but for the next
INPUT = '"input"'
TEXT = '"text"'  # of a part of a message, which may have several
ARGUMENTS = '"arguments"'  # JSON in a text, with escapes of its own

ODD_MEMBERS = (PROMPT, INPUT, TEXT, ARGUMENTS)
