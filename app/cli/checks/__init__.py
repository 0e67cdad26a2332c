"""What `verbatim doctor` looks at beside the services themselves: the machine, each member of the replica set, the way
to them, and what is there in case all of it burns."""
