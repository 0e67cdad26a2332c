"""How long a database operation may take, in seconds, retries and elections included.

Reads and writes outlast an election (3 to 12 s measured). Lists and searches have the database's own working time
besides, so that an expensive one is told from a database that is away, and is cut off before it hurts the others.
"""

READ_SECONDS = 15.0
LIST_SECONDS = 10.0
SEARCH_SECONDS = 2.0
STATS_SECONDS = 20.0
WRITE_SECONDS = 20.0
EXPORT_PAGE_SECONDS = 20.0
PROBE_SECONDS = 2.0
