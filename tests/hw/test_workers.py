# SPDX-License-Identifier: Apache-2.0
"""Workers, in processes and on a Ray cluster: each call is answered, and made again where its worker is lost."""

import os
import sys
import time
from pathlib import Path

import pytest
from worker_calls import die, die_once, fail, wait_on

from bitloom.hw.workers import Cluster, Crew, Processes, WorkerError, workers

CALLS = str(Path(__file__).parents[1])  # where Ray's workers find them


def crew(count, cluster=None):
    return Crew(section="search", call="trial", count=count, cluster=cluster)


def answers(pool, values):
    """Of one call a value, as many at once as there is room for."""
    found, left = {}, list(values)
    while left or len(found) < len(values):
        while pool.room and left:
            pool.submit(left[-1], left.pop())
        key, result = pool.next()
        found[key] = result
    return found


def test_processes_answer_and_a_lost_one_is_replaced(tmp_path):
    with workers(crew(2), die_once, str(tmp_path / "died")) as pool:
        assert answers(pool, range(5)) == {n: 2 * n for n in range(5)}
        assert pool.lost == 1 and (tmp_path / "died").exists()


def test_a_call_that_kills_every_worker_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("bitloom.hw.workers.AGAIN", 1)
    with Processes(crew(1), die, None) as pool:
        pool.submit(0, 3)
        with pytest.raises(WorkerError, match="search: got a worker that died 2 times at one trial, must live; give it memory, or lower search.workers"):
            pool.next()


def test_a_call_that_raises_says_why():
    with Processes(crew(1), fail, None) as pool:
        pool.submit(0, 3)
        with pytest.raises(WorkerError, match=r"search: got a trial that failed \(ValueError: no 3\), must end"):
            pool.next()


def test_workers_are_as_many_as_said_and_end_with_the_pool():
    with Processes(crew(2), time.sleep, 60) as pool:
        pool.submit(0)
        assert pool.room == 1
        pool.submit(1)
        pids = pool.pids()
        assert pool.room == 0 and len(set(pids)) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_without_ray_its_installation_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"search.cluster: got 'local' without Ray .*, must be installed; pip install"):
        workers(crew(2, "local"), fail, None)


@pytest.mark.slow
def test_a_ray_cluster_answers_and_a_lost_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", CALLS)
    pytest.importorskip("ray", reason="no Ray: pip install 'bitloom[ray]'")
    with workers(crew(3, "local"), die_once, str(tmp_path / "died")) as pool:
        assert isinstance(pool, Cluster)
        assert answers(pool, range(7)) == {n: 2 * n for n in range(7)} and (tmp_path / "died").exists()
    with workers(crew(2, "local"), fail, None) as pool:
        pool.submit(0, 3)
        with pytest.raises(WorkerError, match=r"search: got a trial that failed \(no 3\), must end"):
            pool.next()


@pytest.mark.slow
def test_a_ray_cluster_of_several_nodes_loses_one(tmp_path, monkeypatch):
    """A node goes while it is at a call; the call is made again on the other."""
    monkeypatch.setenv("PYTHONPATH", CALLS)
    ray = pytest.importorskip("ray", reason="no Ray: pip install 'bitloom[ray]'")
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        first = nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False)
        with workers(crew(1, "auto"), wait_on, str(tmp_path)) as pool:
            pool.submit("a", 5)
            while not (tmp_path / "began").exists():
                time.sleep(0.1)
            nodes.add_node(num_cpus=1)
            nodes.remove_node(first, allow_graceful=False)
            (tmp_path / "go").touch()
            assert pool.next() == ("a", 10) and len((tmp_path / "began").read_text()) == 2
    finally:
        ray.shutdown()
        nodes.shutdown()
