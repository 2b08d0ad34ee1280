import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from s2f_deploy.errors import ArtefactError
from s2f_sim.progress_log import ProgressLog

BINDING = {"model": "sha256:ab", "dataset": "val2017", "options": {"iou": 0.7, "timesteps": 4}}
KEYS = [f"{i:012}.jpg" for i in range(12)]


def judge(key: str) -> dict[str, object]:
    # Numbers without a short decimal form, and a tuple, which JSON turns into a list.
    return {"rows": [int(key[:12]) / 3, 0.1 + 0.2, 1e-300], "size": (480, 640)}


def evaluate(path: Path) -> dict[str, object]:
    with ProgressLog(path, BINDING) as log:
        return log.run(KEYS, judge)


def test_finished_pictures_are_not_evaluated_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    asked: list[str] = []

    def stopped(key: str) -> dict[str, object]:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(key)
        return judge(key)

    def noted(key: str) -> dict[str, object]:
        asked.append(key)
        return judge(key)

    with pytest.raises(KeyboardInterrupt), ProgressLog(path, BINDING) as log:
        log.run(KEYS, stopped)
    with ProgressLog(path, BINDING) as log:
        assert list(log.results) == asked == KEYS[:5]
        log.run(KEYS, noted)
    assert asked == KEYS
    assert evaluate(path) == evaluate(tmp_path / "whole.jsonl")
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_wherever_the_file_is_torn_the_results_are_the_same(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    expected = evaluate(whole)
    content = whole.read_bytes()
    torn = tmp_path / "torn.jsonl"
    for length in range(0, len(content), 7):
        torn.write_bytes(content[:length])
        assert evaluate(torn) == expected
        assert torn.read_bytes() == content
    torn.write_bytes(content + bytes(100))
    assert evaluate(torn) == expected


CHILD = """
import os, signal, sys
from s2f_sim.progress_log import ProgressLog

def judge(key):
    return {"rows": [int(key[:12]) / 3, 0.1 + 0.2, 1e-300], "size": (480, 640)}

path, binding, keys = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
log = ProgressLog(path, binding)
for key in keys[:7]:
    log.add(key, judge(key))
os.write(log._file.fileno(), b'{"key": "0000')
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    command = [sys.executable, "-c", CHILD, str(path), repr(BINDING), repr(KEYS)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with ProgressLog(path, BINDING) as log:
        assert list(log.results) == KEYS[:7]
    assert evaluate(path) == evaluate(tmp_path / "whole.jsonl")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": "sha256:cd"}, "model was 'sha256:ab', is 'sha256:cd'"),
        ({"dataset": "train2017"}, "dataset was 'val2017'"),
        ({"options": {"iou": 0.7, "timesteps": 2}}, "options was"),
        ({"more": 1}, "more was None, is 1"),
    ],
)
def test_another_evaluations_log_is_refused_and_kept(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    path = tmp_path / "log.jsonl"
    evaluate(path)
    before = path.read_bytes()
    with pytest.raises(ArtefactError) as refused:
        ProgressLog(path, BINDING | changed)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a diary", "no log"),
        (b"a diary\nof two lines\n", "no log"),
        (b"[1, 2]\n", "no log"),
        (b"\xff\xfe\n" * 3, "no log"),
        (b'{"log": "s2f evaluation log", "version": 2, "binding": {}}\n', "version 2"),
        (b'{"log": "s2f evaluation log", "version": 1, "binding": 5}\n', "says nothing"),
    ],
)
def test_other_files_are_refused_and_kept(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=words):
        ProgressLog(path, BINDING)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    ["{", "5", '{"key": "a"}', '{"key": 1, "result": 2}', '{"key": "k", "result": 1}', "[" * 9999],
)
def test_damage_before_the_last_line_is_an_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    with ProgressLog(path, BINDING) as log:
        log.add("k", 1)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ArtefactError, match="line 3"):
        ProgressLog(path, BINDING)


def test_every_result_is_on_disk_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    synced: list[bytes] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        real(descriptor)
        synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", spy)
    evaluate(path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert synced == [b"".join(lines[: i + 1]) for i in range(len(lines))]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no advisory locks")
def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with ProgressLog(path, BINDING) as log:
        log.add("a", 1)
        with pytest.raises(ArtefactError, match="another process"):
            ProgressLog(path, BINDING)
    with ProgressLog(path, BINDING) as log:
        assert log.results == {"a": 1}
        with pytest.raises(ArtefactError, match="finished already"):
            log.add("a", 2)
        with pytest.raises(ValueError, match="JSON"):
            log.add("b", float("nan"))
        log.add("b", None)
    assert json.loads(path.read_text().splitlines()[-1]) == {"key": "b", "result": None}
