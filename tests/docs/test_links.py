"""Every link and image leads somewhere, every page has its translation, and both hold the same code."""

from __future__ import annotations

import pytest

from tests.docs.pages import CHINESE, NOT_EXECUTED, PAGES, ROOT, SAYS_SO, TRANSLATED, Page

DIAGRAMS = ("", "text", "mermaid")
"""Blocks of words, which are translated."""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        path, _, fragment = link.partition("#")
        target = (page.file.parent / path).resolve() if path else page.file
        assert target.exists(), f"{page} links to {link}"
        if fragment:
            anchors = Page(str(target.relative_to(ROOT))).anchors
            assert fragment in anchors, f"{page} links to {link}; there are {sorted(anchors)}"


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_holds_the_same_code(page: Page) -> None:
    translation = page.translation()
    assert translation.file.is_file(), f"{page} has no translation at {translation}"
    ours, theirs = (
        [(block.language, block.marks, "" if block.language in DIAGRAMS else block.code) for block in version.blocks]
        for version in (page, translation)
    )
    assert ours == theirs


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_tells_the_same(page: Page) -> None:
    """As far as it can be told: the same levels of headings, rows of tables and items, the same words in code type."""
    translation = page.translation()
    assert page.outline == translation.outline
    assert set(page.words) == set(translation.words)


@pytest.mark.parametrize("page", TRANSLATED, ids=str)
def test_a_translation_links_to_the_same_pages(page: Page) -> None:
    """Chinese pages link to Chinese ones where there are any, so the names of the files are what is compared."""
    names = []
    for version, other in ((page, page.translation()), (page.translation(), page)):
        targets = {(version.file.parent / link.partition("#")[0]).resolve() for link in version.links if link[0] != "#"}
        names.append({target.name.lower() for target in targets - {other.file}})
    assert names[0] == names[1]


def test_every_chinese_page_is_a_translation() -> None:
    assert {page.path for page in CHINESE} == {page.translation().path for page in TRANSLATED}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_says_what_is_not_executed(page: Page) -> None:
    marked = any(NOT_EXECUTED in block.marks for block in page.blocks)
    assert marked == (SAYS_SO[page.chinese] in page.sentences)
