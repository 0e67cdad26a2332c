"""Training data: whole conversations as the lines that trainers of language models read.

A format is a pure function, its maker, from a transcript to lines and to what was left out with the reason: nothing is
changed, completed or made up on the way. Each line meets the rules of its format before it is written.

`model` (what goes in and comes out), `exchange` (the messages that may stand in a line), `answers` (questions with all
of their answers), `messages` and `tools` (how they are written); `chat`, `sharegpt`, `preference`, `feedback` (the
makers) and `formats` (their table); `reading` (transcripts in batches), `writing` (lines and report, in threads),
`service`.
"""
