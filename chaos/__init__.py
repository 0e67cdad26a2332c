"""`make chaos`: clients that write, ask, read and export while members of the replica set and servers die, hang and are
cut off from each other, and the proof that nothing was lost, doubled or reordered.

From the inside out: `wires` (a process of TCP proxies that can be cut) and `network` (its remote control), `servers`,
`stage` (three members behind wires, two servers, an upstream), `history` (what clients were told), `door` (how a client
gets to a server that serves), `load` with `conversing` (the clients), `faults` (the table of what is done to the
stage), `checker` (history against what is stored), `figures` (how long nothing could be written), `verdict`, `run`,
`report`; `soak` with `samples` and `trend` (whether anything grows). The processes of servers, what the upstream tells
and what a follower of a stream sees are those of the tests.
"""
