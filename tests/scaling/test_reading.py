"""Whoever reads a results file and shows it does not load what measures, and makes its words anew."""

import json
import subprocess
import sys

import pytest
from exact_laws import amdahl_times, even, threads
from example_points import explained
from patience import PATIENCE

from compute.scaling import laws, results
from compute.scaling.results import Scaling
from compute.scaling.tables.table import groups

MEASURES = [
    "numba",
    "compute.backends",
    "compute.dispatch",
    "compute.lanes",
    "compute.memory",
    *(f"compute.scaling.{name}" for name in ("rounds", "measure", "harness", "probe", "ceiling", "noise", "workload")),
]
READ = "import sys; from compute import Scaling; scaling = Scaling.from_json(sys.argv[1]); "
READ_ANY = "import sys; from compute.scaling.imported import read; scaling = read(sys.argv[1]); "
REPORT = "from compute import report; "


@pytest.mark.parametrize(
    "program",
    [
        READ + "shown = str(scaling)",
        READ + "shown = scaling.as_json()",
        READ_ANY + "shown = str(scaling)",
        READ_ANY + REPORT + "shown = report.render(scaling, 'text')",
        READ_ANY + REPORT + "shown = report.render(scaling, 'markdown')",
        READ_ANY + REPORT + "shown = report.render(scaling, 'csv')",
    ],
)
def test_a_results_file_is_read_and_shown_without_what_measures(tmp_path, program):
    explained().to_json(tmp_path / "a.json")
    ask = f"{program}; assert 'mandelbrot' in shown; print(*(name for name in {MEASURES} if name in sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", ask, tmp_path / "a.json"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (told.stdout.strip(), told.stderr) == ("", "")


def with_laws():
    """A file's object, whose laws were fitted, projected and replayed."""
    points = threads({n: amdahl_times(n, 0.2) for n in (1, 2, 4, 8)})
    return json.loads(Scaling(tuple(points), laws=laws.fit_laws(points, chunk_seconds=even(40), cpus=4)).as_json())


def words(data):
    (group,) = groups(results.from_data(data, "a.json"))
    return [str(remark) for remark in group.laws]


def test_a_file_holds_the_figures_of_laws_and_not_their_sentences():
    data = with_laws()
    assert not {"sentences", "assumption"} & data["laws"][0].keys()
    (told,) = words(data)
    assert told.startswith("threads · nogil: 8 workers share 4 CPUs")
    assert "Amdahl: a serial fraction of 20 %" in told
    assert "the 40 chunks" in told
    data["laws"][0]["amdahl"]["serial_fraction"] = 0.3
    data["laws"][0]["sentences"] = ["invented"]
    assert "Amdahl: a serial fraction of 30 %" in words(data)[0]
    assert "invented" not in words(data)[0]


def test_what_several_laws_assume_is_told_once():
    data = with_laws()
    (alone,) = words(data)
    data["points"] += [p | {"backend": "prange"} for p in data["points"] if p["backend"] == "threads"]
    data["laws"].append(data["laws"][0] | {"backend": "prange"})
    everything, assumed = words(data)
    text = assumed.removeprefix("Assumed: ")
    assert "all that was lost at 2 and 4 workers is one serial fraction" in text
    assert f" Assumed: {text}" in alone
    assert everything == alone.replace("threads · nogil: ", "All: ").replace(f" Assumed: {text}", "")


def test_a_file_of_before_keeps_the_sentences_that_it_holds():
    data = with_laws()
    del data["laws"][0]["left_out"]
    data["laws"][0] |= {"sentences": ["Told then."], "assumption": "Assumed: much."}
    assert words(data) == ["threads · nogil: Told then."]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"amdahl": 3}, "a.json: 'laws' 1 cannot be told .*; measure again"),
        ({"projection": []}, "a.json: 'laws' 1 cannot be told"),
        ({"karp_flatt": [[2, "much"]]}, "a.json: 'laws' 1 cannot be told"),
        ({"usl": {}}, "a.json: 'laws' 1 cannot be told .'alpha' is missing"),
        ({"counts": [1, "2"]}, "'counts' of 'laws' 1 must be a list of whole numbers"),
        ({"chunks": "many"}, "'chunks' of 'laws' 1 must be a whole number"),
    ],
)
def test_a_law_that_cannot_be_told_is_refused_in_a_line(changed, error):
    data = with_laws()
    data["laws"][0] |= changed
    with pytest.raises(ValueError, match=error):
        results.from_data(data, "a.json")


@pytest.mark.parametrize("name", ["kernel", "variant", "backend"])
@pytest.mark.parametrize("is_null", [True, False])
def test_a_law_of_nothing_is_refused_in_a_line(name, is_null):
    data = with_laws()
    data["laws"][0][name] = None
    if not is_null:
        del data["laws"][0][name]
    with pytest.raises(ValueError, match=f"a.json: 'laws' 1 has no '{name}'; measure again"):
        results.from_data(data, "a.json")
