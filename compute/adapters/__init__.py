"""Our pools behind the interfaces of other libraries.

executor.py         pool.executor(): a concurrent.futures.Executor on the workers of a pool
task_queue.py       TaskQueue: the tasks of one executor, until a lane takes them
exchange.py         how tasks reach worker processes, and their outcomes come back
calls.py            a call, and its outcome, as messages
imap.py             pool.imap: results as they come
joblib.py           joblib's backend "nfold"
idle_pools.py       open pools that wait for the next call of joblib.Parallel
pytest_plugin.py    the `scaling` fixture
scaling_marker.py   @pytest.mark.scaling: what a marked test measures, and when it fails
"""
