"""What tests of joblib's backend share. joblib's own tests are imported, too; they have marks that ours have not."""

import pytest


def pytest_configure(config):
    for mark in ("thread_unsafe", "no_cover"):
        config.addinivalue_line("markers", f"{mark}: of joblib's own tests")


@pytest.fixture(scope="module")
def nobody_idle():
    import compute.adapters.joblib as ours  # late: it registers a backend with joblib

    yield
    ours.close_idle_workers()


@pytest.fixture
def on_nfold(nobody_idle):
    from joblib import parallel_config

    with parallel_config(backend="nfold", n_jobs=2):
        yield
