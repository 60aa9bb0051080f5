# SPDX-License-Identifier: Apache-2.0
"""Programs that bitloom starts: they end with it however it ends, and so do all that they started; nothing is left behind."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitloom.hw import process

ROOT = Path(__file__).parents[2]
FAMILY = "sleep 300 & echo $$ $! > pids.new; mv pids.new pids; wait"  # as make is with its compilers
PARENT = f"""\
import signal, sys
from pathlib import Path
from bitloom.hw import process
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's do this one
with process.ended_by_signals(), process.scratch("test", Path(sys.argv[1])) as folder:
    process.run(["sh", "-c", {FAMILY!r}], cwd=sys.argv[1])
"""


def until(seen, seconds: float = 20.0):
    """What `seen()` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def family(folder: Path) -> list[int]:
    return [int(pid) for pid in until(lambda: (folder / "pids").exists() and (folder / "pids").read_text()).split()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -2)])
def test_programs_end_with_their_parent(tmp_path, number, code):
    """The signal goes to the parent alone; what it started has children of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], env=environment, stderr=subprocess.DEVNULL) as parent:
        pids = family(tmp_path)
        assert len(pids) == 2 and all(map(alive, pids))
        parent.send_signal(number)
    assert parent.returncode == code
    until(lambda: not any(map(alive, pids)))
    left = list(tmp_path.glob("bitloom-test-*"))
    assert len(left) == (number == signal.SIGKILL), "only who is killed cannot clean up"
    process._sweep.cache_clear()
    with process.scratch("next", tmp_path) as own:
        assert list(tmp_path.glob("bitloom-*")) == [own], "and then the next one does"


def test_a_program_ends_as_it_would_alone(tmp_path):
    def code(script: str) -> int:
        return process.run(["sh", "-c", script], cwd=tmp_path).returncode

    assert (code("exit 0"), code("exit 3"), code("kill -9 $$"), code("kill -SEGV $$"), code("kill $$")) == (0, 3, -9, -11, -15)
    assert code("trap 'exit 5' TERM; kill $$") == 5
    assert code("kill -PIPE $$; exit 7") == -13, "SIGPIPE is as programs expect it"
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        process.run(["no-such-program"])
    assert process.ask(["sh", "-c", "echo out; echo err >&2; cat"]) == "out\nerr\n", "and nothing stands on its stdin"


def test_the_time_limit_ends_all_that_was_started(tmp_path):
    with pytest.raises(process.TimeoutExpired):
        process.run(["sh", "-c", f"trap '' TERM; {FAMILY}"], cwd=tmp_path, timeout=0.5)  # one that does not obey
    until(lambda: not any(map(alive, family(tmp_path))), 2.0)


def test_what_a_program_leaves_running_is_ended(tmp_path):
    done = process.run(["sh", "-c", "sleep 300 & echo $! > pids"], cwd=tmp_path)
    assert done.returncode == 0
    until(lambda: not any(map(alive, family(tmp_path))), 2.0)


def test_scratch_folders(tmp_path):
    """Of a live process, kept ones, links and folders that only look alike are left alone."""
    process._sweep.cache_clear()
    mine, other = tmp_path / "bitloom-mine", tmp_path / "elsewhere"
    for folder in (mine, other):
        folder.mkdir()
    (other / process.LOCK).touch()
    (tmp_path / "bitloom-link").symlink_to(other)
    with process.scratch("live", tmp_path) as live:
        process._sweep.cache_clear()
        with process.scratch("kept", tmp_path) as kept:
            process.keep(kept)
        with pytest.raises(ValueError), process.scratch("failed", tmp_path, keep_on=ValueError) as failed:
            raise ValueError
        with pytest.raises(KeyboardInterrupt), process.scratch("gone", tmp_path, keep_on=ValueError):
            raise KeyboardInterrupt
    process._sweep.cache_clear()
    with process.scratch("next", tmp_path):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"bitloom-mine", "elsewhere", "bitloom-link", kept.name, failed.name}
    assert not live.exists() and (other / process.LOCK).exists()


def test_nothing_is_started_elsewhere():
    """One launcher: no other file of the packages imports what starts processes, or asks os to. A search's workers are Python's own: they end with the pipe to them."""
    starters = {"subprocess", "multiprocessing", "pty", "system", "popen", "fork", "posix_spawn", "posix_spawnp", "execv", "execvp", "forkpty"}
    found = set()
    for folder in ("bitloom", "hls", "hw", "qat", "sim"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] + [getattr(node, "module", "")] if isinstance(node, ast.Import | ast.ImportFrom) else []
                names += [node.attr] if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" else []
                found |= {(str(path.relative_to(ROOT)), name) for name in names if name in starters}
    assert found == {("hw/process.py", "subprocess"), ("hw/supervise.py", "posix_spawnp"), ("hw/workers.py", "multiprocessing")}
