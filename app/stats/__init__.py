"""Summaries of what was said and of what it took, as tables: `tables` declares them, `request` reads what is asked,
`service` has the database add it up."""
