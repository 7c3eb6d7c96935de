"""Limits over hosts at length: `tools/stores`.

model     the store's script as a function: what a simulation asks in place of a store
leases    what leases cost and save, at rates that clients have
growth    what a hundred gateways and ten million clients ask of how many stores
proof     gateways, a store, and what breaks it
packages  what a question costs with each package that speaks to a store
failover  a server of a Cluster or behind Sentinels is lost: what clients see until another has taken its place
server, groups  the stores themselves
"""
