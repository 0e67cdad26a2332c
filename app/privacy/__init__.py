"""What people may ask for about what is stored of them, and what the law may ask of who stores it.

From the inside out: `inventory` (every collection: whose rows it holds, what is handed out, what stays and why),
`model`, `resource`, `schemas`, `repository`, `holds` (what must not be removed), `purging` (a conversation with all
that belongs to it), `erasures` (a user with all that is theirs, and the receipt), `selection` and `retention` (what is
removed by age), `archive` (a user's data as a file), `upkeep` (the clock), `assembly`.
"""
