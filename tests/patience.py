"""How long a test waits for what must happen. A limit is there to end a hang, and for nothing else."""

PATIENCE = 600.0  # s: a machine with five times as much other work takes a minute for what it does in ten seconds alone
