"""What compiled bodies stand on: vectors, atomic words, clocks, blocks in registers, this machine's caches."""
