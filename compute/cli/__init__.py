"""The command line: words in, the rooms below at work, tables out. Only this room prints."""

from compute.cli import advising as advising
from compute.cli import command as command
from compute.cli import comparing as comparing
from compute.cli import showing as showing
from compute.cli import teaching as teaching
from compute.cli.commands import main as main
