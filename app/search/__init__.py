"""The index of long texts: which rows may contain something, built behind the writes.

`docs/decisions/content-search.md` tells how it works. From the inside out: `terms` says what is looked up; `postings`,
`blocks` and `keys` how that is stored; `segments` what an immutable part of the index is, `store` where it is kept, and
`register` which of them count; `gathering`, `building`, `merging` and `scrubbing` how parts come to be, and `builder`
when; `plans` says what a search reads of a segment, `spans` which part of the list; `lookup` finds candidates, and
`reader` makes a list of them.
"""
