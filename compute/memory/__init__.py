"""Arrays that every lane can see: arenas, the segments they lie in, and which process these belong to."""
