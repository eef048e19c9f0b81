"""joblib's own tests are imported here, and have marks that ours have not."""


def pytest_configure(config):
    for mark in ("thread_unsafe", "no_cover"):
        config.addinivalue_line("markers", f"{mark}: of joblib's own tests")
