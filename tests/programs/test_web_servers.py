"""Web servers that fork: gunicorn, uWSGI, and a master of one's own with two servers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys

import pytest
from loopback import REQUESTS, ask, check, free_port, snippet
from private_mounts import in_private, reachable_by_all, refused

needs_gunicorn = pytest.mark.skipif(not importlib.util.find_spec("gunicorn"), reason="gunicorn is not installed")
unprivileged = pytest.mark.skipif(refused() is not None, reason=str(refused()))
UWSGI = shutil.which("uwsgi", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
needs_uwsgi = pytest.mark.skipif(not UWSGI, reason="uwsgi is not installed")


@pytest.fixture
def app(folder):
    """The docs' application, in the folder; a function that changes one of its lines."""
    for name in ("app.py", "gunicorn.conf.py", "uwsgi_app.py", "uwsgi.ini"):
        (folder / name).write_text(snippet(name))

    def edit(old, new, name="app.py"):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


def gunicorn(port, *options):
    return [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", *options, "app"]


BACKENDS = ["Processes(2)", "Threads(2)", "Joblib(2)"]


@needs_gunicorn
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_gunicorn_whose_workers_open_pools_after_the_fork(start, app, options, backend):
    """A reload in the middle of it: workers end, others come."""
    app("Processes(2)", backend)
    port = free_port()
    server = start(*gunicorn(port, *options))
    server.await_port(port)
    check(port, REQUESTS // 2)
    server.signal(signal.SIGHUP)
    check(port, REQUESTS // 2, first=REQUESTS)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said


@needs_gunicorn
def test_gunicorn_with_a_pool_from_before_the_fork_answers_nothing_wrong(start, folder, app):
    app("def application", "open_pool()\n\n\ndef application")
    (folder / "gunicorn.conf.py").unlink()
    port = free_port()
    server = start(*gunicorn(port, "--preload"))
    server.await_port(port)
    for k in range(20):
        with pytest.raises(RuntimeError, match="500"):
            ask(port, k)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert f"this pool belongs to process {server.process.pid}; open another one here" in server.said


@needs_gunicorn
@pytest.mark.skipif(refused() is not None, reason=str(refused()))
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gunicorn_that_drops_privileges(start, folder, app, options, backend):
    app("Processes(2)", backend)
    (folder / "cache").mkdir(mode=0o777)
    (folder / "cache").chmod(0o777)
    port = free_port()
    command = gunicorn(port, "--user", "nobody", "--group", "nogroup", "--worker-tmp-dir", folder / "tmp", *options)
    server = start(*in_private(reachable_by_all(), *map(str, command)), NFOLD_CACHE_DIR=str(folder / "cache"))
    server.await_port(port)
    check(port)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said


def uwsgi(port, *options):
    return [UWSGI, "--ini", "uwsgi.ini", "--http-socket", f"127.0.0.1:{port}", "--virtualenv", sys.prefix, *options]


@needs_uwsgi
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [[], ["--lazy-apps"]], ids=["", "lazy"])
def test_uwsgi_whose_workers_open_pools_after_the_fork(start, app, options, backend):
    app("Processes(2)", backend)
    app("def close_pool", "    print('the pool is open', flush=True)\n\n\ndef close_pool")
    port = free_port()
    server = start(*uwsgi(port, *options))
    # Told to end while it opens its pool, a worker of uWSGI does not hear it.
    server.wait_until(lambda: server.said.count("the pool is open") == 2)
    check(port, REQUESTS // 2)
    server.signal(signal.SIGHUP)  # all of it again
    server.wait_until(lambda: server.said.count("the pool is open") == 4)
    check(port, REQUESTS // 2, first=REQUESTS)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said
    assert "NO MERCY" not in server.said, server.said


ALONE = """
def open_pool():
    import contextlib
    import os
    import sys
    import time

    import compute
    import numpy as np

    assert not os.path.basename(sys.executable).startswith("python"), sys.executable
    global asked
    asked = compute.shared.array(np.arange(1000.0))
    time.sleep(1)
    with contextlib.suppress(ChildProcessError):  # there is none
        assert os.waitpid(-1, os.WNOHANG) == (0, 0), "a child has died"
    print("the pool is open", flush=True)


def close_pool():
    pass


def application(environ, start_response):
    value = (float(environ["QUERY_STRING"] or 0) + asked) ** 2
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [value.tobytes()]
"""


@needs_uwsgi
@pytest.mark.parametrize("user", ["", pytest.param("nobody", marks=unprivileged)])
def test_shared_arrays_alone_in_uwsgi(start, folder, app, user):
    """Nothing but a shared array: where it needs a resource tracker (its user was root), that is no uWSGI either."""
    (folder / "app.py").write_text(ALONE)
    port = free_port()
    command = uwsgi(port, *(["--uid", user] if user else []))
    server = start(*(in_private(reachable_by_all(), *command) if user else command))
    server.wait_until(lambda: server.said.count("the pool is open") == 2 or "Traceback" in server.said)
    assert "Traceback" not in server.said, server.said
    check(port)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said
    assert server.said.count("Starting uWSGI") == 1, server.said


@needs_uwsgi
def test_uwsgi_without_a_python_names_the_remedy(start, app):
    app("    global pool\n", "    global pool\n    sys.prefix = sys.exec_prefix = '/nowhere'\n")
    app("import numpy as np\n", "import sys\n\nimport numpy as np\n")
    server = start(*uwsgi(free_port()))
    server.wait_until(lambda: "set sys.executable to the path of one" in server.said)  # uWSGI goes on, and is killed
    assert "no python3." in server.said
    assert "ConnectionRefusedError" not in server.said, server.said


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_master_of_ones_own_with_two_servers(start, folder, app, backend):
    """The master, too, has a pool, and uses it all the time."""
    app("Processes(2)", backend)
    (folder / "master.py").write_text(snippet("master.py"))
    port = free_port()
    server = start(sys.executable, "master.py", port)
    server.await_port(port)
    check(port)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said
