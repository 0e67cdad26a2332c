"""Who did what, when and from where: entries that are written with the act itself and never changed.

From the inside out: `actor` (on whose behalf this task runs), `model`, `resource`, `trail` (writing an entry),
`audited` (repositories whose changes are entries), `refusals` (bounded in number), `repository`, `keeping`.
"""
