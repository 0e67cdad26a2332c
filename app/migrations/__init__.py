"""Migrations: what the data needs so that this version can serve it, done once, by one process, in order.

From the inside out: `model` says what a migration is; `indexes` compares the indexes that are there with the declared
ones; `backfill` walks a collection in batches; `steps` are the migrations' work and `registry` their list, in order and
for ever; `ledger` is what the database knows of them, with the lease of each; `runner` does what is to be done, and
says what is not. `docs/decisions/migrations.md` says why it is done this way.
"""
