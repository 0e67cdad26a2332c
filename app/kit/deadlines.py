"""How long a database operation may take, in seconds, retries and elections included.

A write outlasts an election (3 to 12 s measured); a search is cut off before it hurts the others.
"""

READ_SECONDS = 15.0
SEARCH_SECONDS = 2.0
WRITE_SECONDS = 20.0
EXPORT_PAGE_SECONDS = 20.0
