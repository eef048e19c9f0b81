"""What the planted programs compute: seconds of one CPU, in steps that a busy machine does not shorten."""


def spin(steps: int) -> int:
    """So many steps of a loop in Python."""
    x = 0
    for i in range(steps):
        x += i * i
    return x


STEPS = 12_000_000  # about 0.4 s on one core
