"""The command line. A module for each command or two; `main` in commands.py runs them and turns errors into exit codes.

Here and in terminal.py is what prints, but for progress (compute.drawing).
"""

from compute.cli import advising as advising
from compute.cli import command as command
from compute.cli import comparing as comparing
from compute.cli import showing as showing
from compute.cli import teaching as teaching
from compute.cli.commands import main as main
