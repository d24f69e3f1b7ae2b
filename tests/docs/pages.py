"""The documents and what is in them: blocks of code, words in code type, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
WRITTEN_FROM_CODE = ("docs/cli.md", "docs/settings.md")
"""Pages of `make docs`, compared with the code by `tests/cli/test_docs.py`; what they quote is in English."""

NOT_EXECUTED = "not-executed"
SAYS_SO = {False: "not executed by the tests", True: "测试不会执行"}
"""What a page with such a block says in a sentence, in English and in Chinese."""

_FENCE = re.compile(r"^```(\S*)[ \t]*([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_BEGINNING = re.compile(r"^(#{1,6}|-|\d+\.|\|)[ -]", re.MULTILINE)
_COMMENT = {"js": re.compile(r"(^|\s)//.*$", re.MULTILINE), "": re.compile(r"(^|\s)#.*$", re.MULTILINE)}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `marks` is what stands after its language."""

    language: str
    marks: str
    text: str

    @property
    def executed(self) -> bool:
        return self.language in ("sh", "python", "js") and NOT_EXECUTED not in self.marks and not self.is_set_up

    @property
    def is_set_up(self) -> bool:
        """Whether it only calls make, to install and serve: that is `scripts/fresh.sh`'s to try, on a bare system."""
        lines = [line for line in self.code.splitlines() if line.strip()]
        return self.language == "sh" and all(re.match(r"(?:[A-Z_]+=\S+ )*make ", line) for line in lines)

    @property
    def code(self) -> str:
        """The text without comments, which may be in another language."""
        pattern = _COMMENT.get(self.language, _COMMENT[""])
        return "\n".join(line.rstrip() for line in pattern.sub("", self.text).splitlines() if line.strip())


@dataclass(frozen=True)
class Page:
    """One document. `path` is relative to the repository."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def file(self) -> Path:
        return ROOT / self.path

    @property
    def chinese(self) -> bool:
        return self.path.startswith("docs/zh/") or self.path.endswith(".zh.md")

    @cached_property
    def text(self) -> str:
        return self.file.read_text("utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def sentences(self) -> str:
        """The prose with its lines joined."""
        return re.sub(r"\s*\n\s*", "" if self.chinese else " ", self.prose)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(Block(*found) for found in _FENCE.findall(self.text))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What stands in code type within the prose."""
        return tuple(_CODE.findall(self.prose))

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Targets of links and images, without those on other sites."""
        return tuple(target for target in _LINK.findall(self.prose) if not re.match(r"[a-z]+:", target))

    @cached_property
    def anchors(self) -> frozenset[str]:
        """What a `#fragment` may name: the headings, as GitHub and others spell them."""
        return frozenset(_slug(heading) for heading in _HEADING.findall(self.prose))

    @cached_property
    def outline(self) -> tuple[str, ...]:
        """What each heading, item and row of a table begins with, in order."""
        return tuple(_BEGINNING.findall(self.prose))

    @property
    def commands(self) -> Iterator[str]:
        """Every line of shell in blocks and every word in code type, which may be one."""
        for block in self.blocks:
            if block.language == "sh":
                yield from re.sub(r"\\\n\s*", "", block.code).splitlines()
        yield from self.words

    def translation(self) -> Page:
        """Where the Chinese version of an English page is."""
        if self.path == "README.md":
            return Page("README.zh.md")
        if self.path == "CONTRIBUTING.md":
            return Page("docs/zh/contributing.md")
        return Page(f"docs/zh/{self.file.name}")


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _found(pattern: str) -> list[Page]:
    return [Page(str(path.relative_to(ROOT))) for path in sorted(ROOT.glob(pattern))]


ENGLISH = [Page("README.md"), Page("CONTRIBUTING.md"), *_found("docs/*.md")]
CHINESE = [*_found("README.zh.md"), *_found("docs/zh/*.md")]
PAGES = [*ENGLISH, *CHINESE]
TRANSLATED = [page for page in ENGLISH if page.path not in WRITTEN_FROM_CODE]
