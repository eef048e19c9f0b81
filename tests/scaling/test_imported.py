"""pytest-benchmark's JSON becomes the same dataset."""

import json

import pytest
from example_points import a_scaling

from compute.scaling import imported
from compute.scaling.derive import compare_points


def a_benchmark(name="test_kernel[a]", data=(1.0, 1.1, 0.9, 1.0, 1.2, 1.0), **info):
    """One benchmark as pytest-benchmark 5 writes it, without the statistics that nobody reads."""
    info = {"kernel": "mandelbrot", "size": 512, "variant": "nogil", "backend": "serial", "workers": 1, **info}
    stats = {"min": min(data), "median": sorted(data)[len(data) // 2], "data": list(data)}
    return {"group": None, "name": name, "params": {}, "extra_info": info, "stats": stats}


def a_file(*benchmarks):
    cpu = {"count": 2, "brand_raw": "Invented 9000"}
    machine = {"cpu": cpu, "python_version": "3.14.0", "system": "Linux", "release": "6.1", "node": "secret"}
    date = "2026-11-22T00:00:00+00:00"
    return {"machine_info": machine, "benchmarks": list(benchmarks), "datetime": date, "version": "5.3.1"}


TWO = {"backend": "threads", "workers": 2, "data": (0.5,) * 6}


def read(data):
    return imported.from_benchmarks(data, "b.json")


def test_speedup_is_against_serial_of_the_same_kernel_size_and_variant():
    other = a_benchmark(size=1024, data=[9.0] * 6)
    scaling = read(a_file(a_benchmark(), other, a_benchmark(variant="python", data=[30.0] * 6), a_benchmark(**TWO)))
    serial, *_, two = scaling.points
    assert (serial.speedup, serial.baseline) == (1.0, "serial")
    assert (two.kernel, two.size, two.variant, two.backend, two.workers) == ("mandelbrot", 512, "nogil", "threads", 2)
    assert (two.seconds, two.speedup, two.efficiency, two.baseline) == (0.5, 2.0, 1.0, "serial")
    assert two.samples == (0.5,) * 6
    assert two.speedup_ci[0] <= 2.0 <= two.speedup_ci[1]
    assert scaling.warnings == (imported.NOT_INTERLEAVED,)


def test_machine_has_nfolds_names_and_no_host_name():
    machine = read(a_file(a_benchmark())).machine
    assert (machine["cpus"], machine["model"], machine["python"]) == (2, "Invented 9000", "3.14.0")
    assert machine["source"] == "pytest-benchmark 5.3.1"
    assert "secret" not in json.dumps(machine)


def test_without_serial_one_worker_of_the_same_backend_is_the_baseline_and_a_warning_says_so():
    scaling = read(a_file(a_benchmark(backend="threads"), a_benchmark(**TWO)))
    assert scaling.points[1].speedup == 2.0
    assert scaling.points[1].baseline == "one worker"
    assert scaling.warnings[1:] == (
        "mandelbrot 512 (nogil) has no serial run: speedup is against one worker of its own for threads",
    )


def test_without_any_baseline_there_is_no_speedup():
    scaling = read(a_file(a_benchmark(**TWO)))
    assert (scaling.points[0].speedup, scaling.points[0].efficiency) == (None, None)
    assert scaling.warnings[1] == "mandelbrot 512 (nogil) has no serial run: no speedup for threads"


def test_other_benchmarks_are_left_out_and_counted():
    strangers = [{**a_benchmark(name), "extra_info": {}} for name in ("test_a", "test_b", "test_c", "test_d")]
    scaling = read(a_file(a_benchmark(), *strangers))
    assert len(scaling.points) == 1
    assert "left out 4 of 5 benchmarks that name no kernel: test_a, test_b, test_c, …" in scaling.warnings


def test_one_configuration_run_twice_is_one_point_with_all_samples():
    scaling = read(a_file(a_benchmark(data=[1.0, 2.0]), a_benchmark(data=[3.0])))
    assert [p.samples for p in scaling.points] == [(1.0, 2.0, 3.0)]


def test_saved_without_data_the_median_stands_for_the_samples():
    one = a_benchmark()
    del one["stats"]["data"]
    assert read(a_file(one)).points[0].samples == (1.0,)


@pytest.mark.parametrize(
    ("benchmarks", "told"),
    [
        ([], "no benchmark in b.json says in extra_info .* use nfold's `scaling` fixture"),
        ([{"name": "test_a"}], "no benchmark in b.json"),
        ([3], "'benchmarks' must be a list of objects"),
        (
            [a_benchmark(workers=0)],
            r"extra_info\['workers'\] of test_kernel\[a\] must be a whole number from 1 on, not 0",
        ),
        ([a_benchmark(size="big")], r"extra_info\['size'\]"),
        ([{**a_benchmark(), "extra_info": {"kernel": "primes"}}], r"extra_info\['variant'\] .* not None"),
        ([{**a_benchmark(), "stats": {}}], "holds no times"),
        ([{**a_benchmark(), "stats": {"data": [0.0, 1.0]}}], "holds no times"),
    ],
)
def test_what_is_missing_is_told_in_one_line(benchmarks, told):
    with pytest.raises(ValueError, match=told) as caught:
        read({**a_file(), "benchmarks": benchmarks})
    assert "\n" not in str(caught.value)


def test_read_knows_both_kinds_of_file(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(a_file(a_benchmark())))
    a_scaling().to_json(tmp_path / "a.json")
    assert imported.read(tmp_path / "b.json").points[0].kernel == "mandelbrot"
    assert imported.read(tmp_path / "a.json") == a_scaling()


def test_what_is_read_is_a_dataset_like_any_other(tmp_path):
    scaling = read(a_file(a_benchmark(), a_benchmark(**TWO)))
    scaling.to_json(tmp_path / "a.json")
    assert imported.read(tmp_path / "a.json") == scaling
    assert compare_points(scaling.points, paired=False) == scaling.points
