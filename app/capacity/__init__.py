"""How large a deployment has to be, reckoned from what was measured.

`figures` is the one table of what was measured; `estimate` reckons with it. Nothing here reads the database: a plan is
made before there is one.
"""
