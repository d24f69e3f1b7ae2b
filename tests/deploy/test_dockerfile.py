"""The reader of Dockerfiles that scripts/fresh.sh goes by."""

from __future__ import annotations

import pytest
from scripts.fresh.dockerfile import RecipeError, assigned, declared, expand, in_context, parse, read, words

SMALL = """
# A comment
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS one
RUN first \\
    # a comment between
    && second
ENV A=1 B="two words"

FROM one
CMD ["run", "it"]
"""


def test_lines_are_joined_and_comments_dropped() -> None:
    assert [(step.name, step.value, step.line) for step in parse(SMALL)][2] == ("RUN", "first     && second", 5)


def test_stages_know_what_they_begin_with() -> None:
    recipe = read(SMALL, {"BASE": "debian:bookworm-other"})
    assert [(stage.name, stage.base) for stage in recipe.stages] == [("one", "debian:bookworm-other"), ("1", "one")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\nSHELL sh", "line 2: SHELL is not"),
        ("RUN a\nFROM b", "line 1: only ARG may come"),
        ("ARG A=1", "there is no FROM"),
    ],
)
def test_what_cannot_be_followed_is_said(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(text, {})


def test_only_the_exec_form_is_a_command() -> None:
    assert words('["a", "b c"]') == ["a", "b c"]
    with pytest.raises(RecipeError, match="JSON form"):
        words("a b")


def test_an_argument_is_the_builders_then_its_default_then_what_came_before() -> None:
    assert declared("A=own", {"A": "before"}, {"A": "builder"}) == {"A": "builder"}
    assert declared("A=own", {"A": "before"}, {}) == {"A": "own"}
    assert declared("A", {"A": "before"}, {}) == {"A": "before"}
    assert declared("A", {}, {}) == {}
    assert declared("A=", {}, {}) == {"A": ""}


def test_variables_are_replaced() -> None:
    assert expand("$A-${B}-${C:-default}-$D.", {"A": "1", "B": "2"}) == "1-2-default-."
    assert assigned("A=$X B=\"two words\" C='one'", {"X": "x"}) == {"A": "x", "B": "two words", "C": "one"}


def test_the_last_line_that_covers_a_path_decides() -> None:
    ignored = "# only src\n*\n!src\n**/__pycache__\n"
    assert in_context("src/a/b.py", ignored)
    assert not in_context("other/b.py", ignored)
    assert not in_context("src/a/__pycache__/b.pyc", ignored)
