"""From a body to machine code, and when code may be used again: all that a function reaches decides."""
