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


@needs_uwsgi
def test_uwsgi_that_is_not_told_which_python_to_start(start, app):
    app('sys.executable = os.path.join(sys.prefix, "bin", "python")', "", "uwsgi_app.py")
    port = free_port()
    server = start(*uwsgi(port))
    server.await_port(port)
    check(port)
    server.signal(signal.SIGTERM)
    assert server.ended() == 0, server.said
    assert "Traceback" not in server.said, server.said


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
