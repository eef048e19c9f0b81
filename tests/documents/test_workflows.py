"""The workflows, as far as they can be checked without running there; and what docs/ci.md tells others to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path.read_text() for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
(GUIDE,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/ci.md").read_text(), re.MULTILINE | re.DOTALL)


def script(workflow: str, step: str) -> str:
    """The shell lines of the step of that name."""
    body = re.search(
        rf"^( *)- name: {re.escape(step)}\n(?:\1  .*\n)*?\1  run: \|\n((?:\1    .*\n|\n)+)", workflow, re.M
    )
    assert body, step
    return "\n".join(line[len(body[1]) + 4 :] for line in body[2].splitlines())


def test_every_python_that_the_package_names_is_tested():
    versions = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text())
    (tested,) = re.findall(r"python: \[(.+)\]", WORKFLOWS["tests.yml"])
    assert tested == ", ".join(f'"{version}"' for version in versions)
    for other in ('"3.14t"', "ubuntu-24.04-arm", "macos-latest", "lowest-direct"):
        assert other in WORKFLOWS["tests.yml"]


def test_targets_of_make_are_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {target for text in WORKFLOWS.values() for target in re.findall(r"make ([a-z-]+)", text)}
    assert used
    assert used <= targets


@pytest.mark.parametrize("text", [*WORKFLOWS.values(), GUIDE], ids=[*WORKFLOWS, "docs/ci.md"])
def test_no_workflow_has_more_rights_than_it_needs_or_runs_for_ever(text):
    assert re.search(r"^permissions:\n  contents: read\n", text, re.MULTILINE)
    assert "pull_request_target" not in text  # it would run a stranger's code with our token
    assert len(re.findall(r"^    runs-on:", text, re.MULTILINE)) == len(
        re.findall(r"^    timeout-minutes:", text, re.M)
    )
    for shell in re.findall(r"run: \|\n((?: {10}.*\n|\n)+)", text):
        assert "${{" not in shell  # values come by the environment, where nothing of them is run


GATES = [(GUIDE, "code"), (WORKFLOWS["scaling.yml"], "worst")]


@pytest.mark.parametrize(("text", "told"), GATES, ids=["docs/ci.md", "scaling.yml"])
def test_a_kernel_that_the_base_does_not_have_is_inconclusive_and_said(tmp_path, text, told):
    for side, lines in ("base", "exit 2"), ("head", "touch measured"):
        folder = tmp_path / side / ".venv/bin"
        folder.mkdir(parents=True)
        (folder / "nfold").write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "nfold").chmod(0o755)
    environment = os.environ | {"WORK": "new:kernel 9", "GITHUB_STEP_SUMMARY": "summary.md", "GITHUB_OUTPUT": "output"}
    done = subprocess.run(
        ["bash", "-e", "-c", script(text, "Measure both, and compare")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "head/measured").exists()
    assert (tmp_path / "output").read_text() == f"{told}=3\n"
    assert "cannot be measured before the change" in (tmp_path / "comment.md").read_text()


@pytest.mark.parametrize("text", [GUIDE, WORKFLOWS["scaling.yml"]], ids=["docs/ci.md", "scaling.yml"])
@pytest.mark.parametrize("earlier", ["", "71\n72\n"])
def test_only_the_workflow_s_own_comment_is_replaced(tmp_path, text, earlier):
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> calls\ncase "$*" in *--paginate*) printf "{earlier}" ;; esac\n')
    gh.chmod(0o755)
    (tmp_path / "comment.md").write_text("### Fine\n")
    done = subprocess.run(
        ["bash", "-e", "-c", script(text, "Comment on the pull request")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NUMBER": "5", "REPOSITORY": "a/b"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "body.md").read_text() == "<!-- nfold: scaling -->\n### Fine\n"
    looked, posted = (tmp_path / "calls").read_text().splitlines()
    assert "repos/a/b/issues/5/comments" in looked
    assert '(.body | startswith("<!-- nfold: scaling -->"))' in looked
    if earlier:
        assert posted == "api --method PATCH repos/a/b/issues/comments/71 --field body=@body.md"
    else:
        assert posted == "pr comment 5 --repo a/b --body-file body.md"


@pytest.mark.parametrize("text", [*WORKFLOWS.values(), GUIDE], ids=[*WORKFLOWS, "docs/ci.md"])
def test_every_script_is_shell(text):
    scripts = re.findall(r"^( *)(?:- )?run: \|\n((?:\1 .*\n|\n)+)", text, re.MULTILINE)
    for _, lines in scripts:
        done = subprocess.run(["bash", "-n"], input=lines, capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing():
    done = subprocess.run(["actionlint"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_guide_s_gate_runs_as_it_stands(tmp_path):
    """With this nfold on both sides, and a second of budget."""
    for side in "base", "head":
        folder = tmp_path / side / ".venv/bin"
        folder.mkdir(parents=True)
        nfold = folder / "nfold"
        nfold.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m compute "$@"\n')
        nfold.chmod(0o755)
    lines = script(GUIDE, "Measure both, and compare").replace("40s 120s", "1s")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", lines],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ
        | {"WORK": "count_primes 10000000", "GITHUB_STEP_SUMMARY": "summary.md", "GITHUB_OUTPUT": "output"},
    )
    assert done.returncode == 0, done.stderr
    (code,) = re.findall(r"^code=(\d)$", (tmp_path / "output").read_text(), re.MULTILINE)
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith({"0": "### Fine", "1": "### Regression", "3": "### Inconclusive"}[code])
    assert comment in (tmp_path / "summary.md").read_text()
    for outcome in "0", "1", "2", "3":
        verdict = subprocess.run(
            ["bash", "-e", "-c", script(GUIDE, "Verdict")], env={"CODE": outcome}, capture_output=True, timeout=PATIENCE
        )
        assert verdict.returncode == (outcome in "12")
