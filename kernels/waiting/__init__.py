"""Work that waits: `fetch` for a server's replies, `read` for blocks of a file. It computes next to nothing."""
