"""Each way in which a file can go wrong gives one clear finding at the right line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnlint.errors import InternalError
from nnlint.linter.check import lint_paths
from nnlint.linter.findings import Finding, Report
from nnlint.linter.load.pool import Pool
from nnlint.linter.settings import LintSettings

NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(x)
"""
HEAD = "import os, sys, torch\nfrom torch import nn\n"
FILE = HEAD + NET


def importing(statements: str, *, top: str = "") -> str:
    """Return a file that runs `statements` while its class is defined."""
    head = "class Net(nn.Module):\n"
    return top + FILE.replace(head, head + textwrap.indent(f"{statements}\n", "    "))


def only(report: Report) -> Finding:
    assert len(report.findings) == 1, report.findings
    (finding,) = report.findings
    assert "\n" not in finding.message
    assert "Traceback" not in finding.message
    return finding


def failed_at(report: Report, text: str) -> Finding:
    """Return the one finding, which is NNL001 at the line that is marked with `# here`."""
    finding = only(report)
    assert finding.code == "NNL001"
    path, line = finding.location.path, finding.location.line
    marked = [i for i, row in enumerate(text.splitlines(), 1) if row.endswith("# here")]
    assert [line] == marked, f"{path}:{line} {finding.message}"
    return finding


def held_up_at(report: Report, text: str) -> Finding:
    """Return the one note, which tells the line that is marked with `# here`."""
    finding = only(report)
    # On another machine, or with more time, it may come to its end.
    assert (finding.code, finding.severity) == ("NNL004", "note")
    line = finding.related[0].location.line
    assert text.splitlines()[line - 1].endswith("# here"), finding.related
    return finding


def test_a_good_file_gives_nothing(lint):
    report = lint(FILE)
    assert report.findings == ()
    assert [(model.name, model.analysed) for model in report.models] == [("Net", True)]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError('two\\n  lines')", "raises ValueError: two lines"),
        ("1 / 0", "raises ZeroDivisionError"),
        ("raise ValueError('x' * 1000)", "raises ValueError: xxx"),
        ("sys.exit(3)", "ends the program: sys.exit(3)"),
        ("exit()", "ends the program: sys.exit()"),
        ("os._exit(0)", "ends the process: os._exit(0)"),
        ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
        ("import ctypes; ctypes.string_at(0)", "crashes Python with a segmentation fault"),
        ("os.abort()", "crashes Python with an abort"),
        ("input()", "raises EOFError"),
    ],
)
@pytest.mark.parametrize("stage", ["import", "build"])
def test_what_ends_the_code_is_reported_where_it_stands(lint, statement, message, stage):
    if stage == "import":
        text = importing(f"{statement}  # here")
    else:
        text = FILE.replace(
            "super().__init__()", f"super().__init__()\n        {statement}  # here"
        )
    report = lint(text)
    finding = failed_at(report, text)
    doing = "importing the file" if stage == "import" else "building the model"
    assert finding.message.startswith(f"{doing} {message}")
    assert len(finding.message) < 260
    assert [(model.analysed, model.reason) for model in report.models] == [(False, finding.message)]
    assert report.sources["net.py"] == text


@pytest.mark.parametrize("stage", ["import", "build", "forward"])
def test_an_endless_loop_is_reported_at_its_line(lint, stage):
    loop = "while True: pass  # here"
    text = {
        "import": importing(loop),
        "build": FILE.replace("super().__init__()", f"super().__init__()\n        {loop}"),
        "forward": FILE.replace("return self.fc(x)", f"{loop}"),
    }[stage]
    finding = held_up_at(lint(text, timeout=1), text)
    assert "takes longer than the limit of 1 s" in finding.message


def test_a_hang_in_c_code_that_keeps_the_lock_is_found(lint):
    text = importing("sum(range(10**13))  # here")
    assert "takes longer" in held_up_at(lint(text, timeout=1), text).message


def test_a_hang_that_blocks_its_own_timer_is_killed(lint):
    text = importing(
        "import faulthandler\nfaulthandler.cancel_dump_traceback_later()\nwhile True: pass  # here"
    )
    assert "takes longer" in held_up_at(lint(text, timeout=0.3), text).message


def test_a_stopped_process_is_killed(lint):
    text = importing("import signal\nos.kill(os.getpid(), signal.SIGSTOP)")
    assert "takes longer" in only(lint(text, timeout=0.3)).message


def test_the_other_models_of_a_file_are_done_after_a_crash(lint):
    crash = NET.replace("Net", "Crash").replace(
        "super().__init__()", "super().__init__()\n        os._exit(1)  # here"
    )
    text = HEAD + NET.replace("Net", "First") + crash + NET.replace("Net", "Last")
    report = lint(text)
    assert failed_at(report, text).model == "Crash"
    assert [(model.name, model.analysed) for model in report.models] == [
        ("First", True),
        ("Crash", False),
        ("Last", True),
    ]


def test_models_that_keep_hanging_use_up_the_time(lint):
    loop = NET.replace("super().__init__()", "super().__init__()\n        while True: pass")
    text = HEAD + "".join(loop.replace("Net", name) for name in ("A", "B", "C"))
    report = lint(text, timeout=0.6)
    assert [finding.code for finding in report.findings] == ["NNL004", "NNL004", "NNL004"]
    assert "time limit" in report.findings[2].message


def test_an_exception_in_a_helper_is_reported_at_the_import(lint):
    helper = "def work():\n    raise RuntimeError('broken helper')\n\nclass Base:\n    work()\n"
    text = f"{HEAD}from helper import Base  # here\n{NET}".replace("nn.Module", "Base, nn.Module")
    finding = failed_at(lint({"net.py": text, "helper.py": helper}), text)
    assert "RuntimeError: broken helper" in finding.message
    places = [(each.location.path, each.location.line) for each in finding.related]
    assert places == [("helper.py", 2), ("helper.py", 5), ("helper.py", 4), ("net.py", 5)]


def test_a_syntax_error_in_a_helper_is_reported_at_the_import(lint):
    text = f"{HEAD}from helper import Base  # here\n{NET}".replace("nn.Module", "Base, nn.Module")
    finding = failed_at(lint({"net.py": text, "helper.py": "x = 1\ny = = 2\n"}), text)
    assert [(each.location.path, each.location.line) for each in finding.related] == [
        ("helper.py", 2),
        ("net.py", 5),
    ]


def test_an_exception_within_torch_is_reported_at_the_user_s_line(lint):
    text = FILE.replace("nn.Linear(4, 2)", "nn.Conv2d(3, 4, 3, groups=2)  # here")
    finding = failed_at(lint(text), text)
    assert "ValueError" in finding.message
    assert finding.location.column == text.splitlines()[finding.location.line - 1].index("nn.") + 1


def test_an_exception_whose_text_fails_is_still_reported(lint):
    text = importing(
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd  # here"
    )
    assert failed_at(lint(text), text).message == "importing the file raises Odd"


def test_an_endless_recursion_is_reported(lint):
    text = importing("f()", top="def f():\n    return f()  # here\n")
    assert "RecursionError" in failed_at(lint(text), text).message


@pytest.mark.parametrize("statement", ["torch.zeros(10**10)", "bytearray(10**10)", "[0] * 10**10"])
def test_a_memory_hog_is_stopped_at_the_limit(lint, statement):
    text = FILE.replace("super().__init__()", f"super().__init__()\n        {statement}  # here")
    finding = only(lint(text, memory_bytes=1 << 30))
    # On another machine it may be built.
    assert finding.code == "NNL004"
    reason = "building the model needs more memory than the limit of 1 GiB"
    assert finding.message == f"Net was not analysed: {reason}"
    assert text.splitlines()[finding.related[0].location.line - 1].endswith("# here")


def test_output_is_swallowed_whatever_its_size(lint, capfd):
    text = importing(
        "print('x' * 10**6); print('y' * 10**6, file=sys.stderr)\n"
        "os.write(1, bytes(10**6))\nprint('\\udc80 ü')"
    )
    assert lint(text).findings == ()
    assert capfd.readouterr() == ("", "")


def test_standard_input_is_empty(lint):
    assert lint(importing("assert sys.stdin.read() == ''")).findings == ()


def test_the_last_output_goes_with_a_crash(lint):
    text = importing("print('fatal: no licence', flush=True)\nos.abort()  # here")
    assert "fatal: no licence" in failed_at(lint(text), text).evidence["output"]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are followed on Linux")
@pytest.mark.parametrize("ending", ["", "os._exit(0)", "while True: pass"])
def test_no_process_is_left_behind(lint, tmp_path, ending):
    daemon = """
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(tell, f"{os.getpid()}\\n".encode())
        while True: time.sleep(60)
    os._exit(0)
os.wait()
child = os.fork()
if child == 0:
    os.setsid()
    while True: pass
os.write(tell, f"{child}\\n{os.getpid()}\\n".encode())
pids = b""
while pids.count(b"\\n") < 3: pids += os.read(told, 100)
open("pids", "wb").write(pids)
"""
    notes = Notes(tmp_path / "pids")
    lint(importing(daemon + ending, top="import time\n"), timeout=2)
    pids = [int(line) for line in notes.lines()]
    assert len(pids) == 3
    assert [pid for pid in pids if _alive(pid)] == []


@pytest.mark.parametrize(
    "start",
    [
        "os.system('touch started')",
        "import subprocess; subprocess.run(['touch', 'started'])",
        "os.posix_spawnp('touch', ['touch', 'started'], os.environ)",
        "os.execlp('touch', 'touch', 'started')",
    ],
)
def test_no_program_is_started(lint, tmp_path, start):
    assert lint(importing(f"try:\n    {start}\nexcept OSError:\n    pass")).findings == ()
    text = importing(f"{start}  # here")
    assert "starts no programs" in failed_at(lint(text), text).message
    assert not (tmp_path / "started").exists()


def test_a_forked_child_that_comes_back_says_nothing(lint):
    report = lint(importing("os.fork()"))
    assert report.findings == ()
    assert len(report.models) == 1


def test_a_file_that_kills_its_keeper_is_reported(lint):
    text = importing("import signal\nos.kill(os.getppid(), signal.SIGKILL)\nwhile True: pass")
    assert "crashes Python" in only(lint(text, timeout=5)).message


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("files", [1, 2])
def test_nothing_outlives_the_parent(tmp_path, end, files):
    notes = [Notes(tmp_path / f"pid{index}") for index in range(files)]
    for index in range(files):
        note = f"open('pid{index}', 'w').write(f'{{os.getpid()}}\\n')"
        (tmp_path / f"net{index}.py").write_text(importing(f"{note}\nwhile True: pass"))
    code = (
        "from nnlint.linter.check import lint_paths;"
        "from nnlint.linter.settings import LintSettings;"
        "lint_paths(['.'], LintSettings(), rules=[])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stderr=subprocess.PIPE,
    )
    pids = [int(note.wait()) for note in notes]
    process.send_signal(end)
    _, error = process.communicate(timeout=10)
    assert error.count(b"Traceback") == (end == signal.SIGINT)  # the command line catches it
    _wait_until(lambda: not any(map(_alive, pids)))


def test_a_cancelled_pool_can_go_on(lint, pool, tmp_path):
    on = Notes(tmp_path / "on")
    text = importing("open('on', 'w').write('on\\n')\nwhile True: pass")
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(lint, {"slow.py": text})
        assert on.wait() == "on"
        pool.cancel()
        with pytest.raises(InternalError, match="cancelled"):
            running.result()
    assert lint(FILE).findings == ()


def test_a_dead_spawner_is_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    with Pool() as pool:
        for _ in range(2):
            assert lint_paths(["net.py"], LintSettings(), rules=[], pool=pool).models[0].analysed
            assert pool._spawner is not None
            pool._spawner.kill()
            pool._spawner.wait()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("raise ValueError('wrong')", "forward raises ValueError: wrong"),
        ("sys.exit(3)", "running the model ends the program: sys.exit(3)"),
        ("os._exit(0)", "running the model ends the process: os._exit(0)"),
        ("import ctypes; ctypes.string_at(0)", "running the model crashes Python"),
    ],
)
def test_what_ends_forward_is_reported_where_it_stands(lint, statement, message):
    text = FILE.replace("return self.fc(x)", f"{statement}  # here\n        return self.fc(x)")
    assert failed_at(lint(text), text).message.startswith(message)


class Notes:
    """A pipe in the file system, which linted code may write to, and no file on disk."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # Open for writing as well: it has no end then, and nobody who opens it has to wait.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        weakref.finalize(self, os.close, self._descriptor)
        self._text = b""

    def lines(self) -> list[str]:
        """Return the whole lines that were written so far."""
        with contextlib.suppress(BlockingIOError):
            self._text += os.read(self._descriptor, 10_000)
        return self._text.decode().splitlines()[: self._text.count(b"\n")]

    def wait(self) -> str:
        """Return the first line."""
        _wait_until(self.lines)
        return self.lines()[0]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
