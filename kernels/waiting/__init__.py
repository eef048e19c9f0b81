"""Work that waits and computes next to nothing.

requests.py      fetch: requests to a server that replies after a fixed delay
server.py        the server that fetch asks, a process of its own on loopback
file_blocks.py   read: blocks of a file, from the disk and not from memory
"""
