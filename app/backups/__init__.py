"""A whole database as one file, of one instant, and back.

From the inside out: `failures` (what may go wrong, in sentences), `frames` (the file: compressed BSON, counted and
hashed), `reading` (a file read and checked to its last byte), `marks` (what a restore leaves in a database while it is
not whole), `source` (the database that is read, as of one instant), `spool` (which documents have changed), `saving`
(the database into a file, while others go on writing), `fates` (what does not come back as it was), `target` (the
database that is written) and `loading` (a file into the database).

What is written is never decoded: documents go through as the bytes that MongoDB has sent.
"""
