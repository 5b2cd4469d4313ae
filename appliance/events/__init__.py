"""What has happened: one ordered stream of events, kept over restarts.

    journal    numbers the events, remembers the last ones, and has them written; whoever follows has a place in it
    store      the file
    witnesses  what changes of rows, GPUs and keys mean, as events
    tally      what happens too often to be told one by one, told once a minute

Telling an event never waits and never fails. What does not belong here: exchanges (`usage`), numbers (`observe`), and
who may read it (`ops`).
"""
