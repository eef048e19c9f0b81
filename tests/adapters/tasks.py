"""What the tests of executors have done."""

import os
import time


def square(x):
    return x * x


def wait_for(path):
    """Come to an end when the file is there: what a test decides, on threads and in processes."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path
