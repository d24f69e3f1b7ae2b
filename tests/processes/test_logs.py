"""Lines of a real pipe."""

import os

import pytest

from editx.processes.logs import LINES_PER_SECOND, MAX_LINE_BYTES, LogPipe


@pytest.fixture
def pipe():
    """A LogPipe, the descriptor to write to it, and the lines it handed on."""
    read, write = os.pipe()
    lines = []
    return LogPipe(read, lines.append), write, lines


def finish(log, write):
    os.close(write)
    log.finish()


def test_lines_split_over_several_reads(pipe):
    log, write, lines = pipe
    os.write(write, b"one\ntw")
    assert log.read() == 6
    assert lines == ["one"]
    os.write(write, "o\r\n\n  \nünf".encode())
    log.read()
    finish(log, write)
    assert lines == ["one", "two", "ünf"]
    assert log.last_line == "ünf"


def test_an_empty_pipe_and_a_closed_one_differ(pipe):
    log, write, _ = pipe
    assert log.read() is None
    os.close(write)
    assert log.read() == 0
    log.finish()


def test_a_line_is_cut(pipe):
    log, write, lines = pipe
    for _ in range(10):
        os.write(write, b"x" * 10_000)
        log.read()
    os.write(write, b"\nnext\n")
    finish(log, write)
    assert lines == ["x" * MAX_LINE_BYTES, "next"]


def test_what_is_no_utf8_is_replaced(pipe):
    log, write, lines = pipe
    os.write(write, b"\xff\xfe ok\n")
    finish(log, write)
    assert lines == ["\ufffd\ufffd ok"]


def test_lines_beyond_the_rate_are_counted(pipe):
    log, write, lines = pipe
    total = 10 * LINES_PER_SECOND
    for number in range(total):
        os.write(write, b"%d\n" % number)
        log.read()
    finish(log, write)
    assert len(lines) < total
    dropped = sum(int(line[1:].split()[0]) for line in lines if line.startswith("("))
    kept = [line for line in lines if not line.startswith("(")]
    assert dropped + len(kept) == total
    assert log.last_line == str(total - 1)


def test_the_headline_of_a_crash_report_is_kept_as_last_line(pipe):
    log, write, _ = pipe
    os.write(write, b"before\nFatal Python error: Segmentation fault\nCurrent thread:\n  File x\n")
    finish(log, write)
    assert log.last_line == "Fatal Python error: Segmentation fault"
