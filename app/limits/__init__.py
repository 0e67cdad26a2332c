"""How much one may ask for: requests in a minute, open streams, tokens and money in a day and a month.

No request waits for the database because of it: a process counts in memory, and tells the others in batches.
"""
