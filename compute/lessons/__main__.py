"""python -m compute.lessons NUMBER SECONDS [TASK]: run a lesson, and print its evidence as a line of JSON.

`nfold lessons --python PATH` calls it in that interpreter. It imports nothing that shows lessons, such as rich.
`where` in place of a number prints what this interpreter is, if all that lessons need can be imported.
"""

from __future__ import annotations

import json
import sys


def main(words: list[str]) -> None:
    from compute.lessons import conduct, find
    from compute.lessons.lesson import Setting
    from compute.lessons.own import find_task

    if words == ["where"]:
        from compute import backends, scaling  # noqa: F401, what lessons need

        print(json.dumps(conduct.where()))
    else:
        number, seconds, *task = words
        setting = Setting(float(seconds), task=find_task(task[0]) if task else None)
        held = conduct.run_lesson(find(number), setting)
        print(
            json.dumps(
                {
                    "evidence": held.evidence,
                    "python": held.python,
                    "seconds": held.seconds,
                    "unavailable": held.unavailable,
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1:])
