"""Which fields of a request a key may use, and how much of them: what can hurt an engine or those who share it.

    shape   how deep and how large JSON is, without reading it
    check   judges what `wire` has picked up from a request, by the settings of all and of the key

Which fields there are, how each is judged and why is a table of its own: `domain.parameters`.

Pure. What does not belong here: the fields that every API has (`wire` checks their types and ranges), and what a key
may use up (`limits`). Nothing is changed silently: a field passes, or the request is refused and told why.
"""
