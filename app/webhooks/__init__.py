"""Telling other systems what happens, and hearing from them.

From the inside out: `model` (what is stored), `events` (which changes are events, and what they say), `payloads` (their
shapes), `subscriptions` (who hears of what), `relay` (from the database's log to deliveries, one process at a time),
`sender` (one HTTP request), `retries` (when to try again), `dispatcher` (due deliveries, in every process), `service`
(what users do with webhooks), `inbound` (messages of other systems).
"""
