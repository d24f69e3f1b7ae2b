"""The tab that shows what every model is doing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psutil
from playwright.sync_api import Locator, Page, expect

from editx.engines.catalog import catalog
from editx.engines.layout import Problem
from editx.lifecycle.pool import ModelPool, PoolVariant
from tests.running import RunningServer, running_server
from tests.ui.visit import Visit


def watch(page: Page, tab: str = "Models") -> None:
    page.get_by_role("tab", name=tab, exact=True).click()


def card(page: Page, variant: str = "lite") -> Locator:
    return page.locator(f"[data-variant={variant}]")


def reach(page: Page, state: str, variant: str = "lite") -> None:
    """Wait until the card of `variant` says `state`."""
    page.wait_for_selector(f"[data-variant={variant}][data-state={state}]")


def wait_for_polls(page: Page, count: int) -> None:
    """Wait until the page has had `count` more answers."""
    had = page.evaluate("EditX.watching.history.get('lite')?.length ?? 0")
    page.wait_for_function(f"EditX.watching.history.get('lite')?.length >= {had + count}")


def test_watching_wakes_nothing_and_says_what_is_missing(page: Page, site: RunningServer) -> None:
    site.client.post("/api/v1/models/lite/unload").raise_for_status()
    before = site.status()
    watch(page)
    reach(page, "unloaded")
    wait_for_polls(page, 3)
    after = site.status()
    assert (after["state"], after["loads"]) == ("unloaded", before["loads"])
    expect(card(page)).to_contain_text("Not loaded")
    expect(card(page).get_by_role("button", name="Unload")).to_have_attribute("aria-disabled", "true")
    base = card(page, "base")
    expect(base).to_contain_text("Not available")
    expect(base).to_contain_text("no weights at")
    expect(base.locator("code")).to_contain_text("editx pull --variant base")
    expect(base).not_to_contain_text("`")
    expect(base.get_by_role("button", name="Load")).to_have_count(0)


def test_the_command_that_helps_can_be_copied(visit: Callable[..., Visit], site: RunningServer) -> None:
    page = visit(site, permissions=["clipboard-read", "clipboard-write"]).page
    watch(page)
    reach(page, "unavailable", "awq")
    card(page, "awq").get_by_role("button", name="Copy").click()
    expect(card(page, "awq").get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == card(page, "awq").locator("code").text_content()


def test_load_by_keyboard_and_a_countdown_that_falls(page: Page, site: RunningServer) -> None:
    site.client.post("/api/v1/models/lite/unload").raise_for_status()
    watch(page)
    reach(page, "unloaded")
    load = card(page).get_by_role("button", name="Load", exact=True)
    load.focus()
    page.keyboard.press("Enter")
    reach(page, "ready")
    expect(load).to_be_focused()
    expect(card(page)).to_contain_text(f"Process{site.status()['pid']}")
    expect(card(page)).to_contain_text("Unloads in")
    first = float(card(page).get_attribute("data-left") or "nan")
    page.wait_for_function("first => document.querySelector('[data-variant=lite]').dataset.left < first - 1", arg=first)
    assert 200 < first <= 300
    chart = card(page).get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile(r"process memory now \d+ MB, at most \d+ MB"))
    wait_for_polls(page, 2)
    drawn = page.evaluate("document.querySelector('[data-variant=lite] .editx-line-ram').getAttribute('d')")
    assert drawn.count("L") >= 2
    assert site.status()["loads"] == _loads_shown(page)


def test_unload_turns_the_card_off_and_the_next_clone_wakes_it(page: Page, site: RunningServer) -> None:
    site.client.post("/api/v1/models/lite/load").raise_for_status()
    pid = site.status()["pid"]
    assert isinstance(pid, int)
    watch(page)
    reach(page, "ready")
    card(page).get_by_role("button", name="Unload").click()
    reach(page, "unloaded")
    assert not psutil.pid_exists(pid)
    watch(page, "Clone")
    page.get_by_label("Text to speak").fill("Wake up.")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("#clone-player [data-state=done]")
    watch(page)
    reach(page, "ready")
    assert _loads_shown(page) == site.status()["loads"]


def test_nobody_asks_while_the_page_is_hidden(page: Page) -> None:
    watch(page)
    wait_for_polls(page, 1)
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    count = "Promise.resolve(EditX.watching._asking).then(() => EditX.watching.history.get('lite').length)"
    had = page.evaluate(count)
    page.evaluate("EditX.watching.ask()")
    assert page.evaluate(count) == had
    page.evaluate(hide, False)
    wait_for_polls(page, 2)


def test_the_chart_has_a_past_when_the_tab_is_opened(page: Page) -> None:
    page.wait_for_function("EditX.watching.history.get('lite')?.length >= 2")
    watch(page)
    page.wait_for_function(
        "document.querySelector('[data-variant=lite] .editx-line-ram').getAttribute('d').includes('L')"
    )


def test_chinese(visit: Callable[..., Visit], site: RunningServer) -> None:
    site.client.post("/api/v1/models/lite/load").raise_for_status()
    page = visit(site, locale="zh-CN").page
    watch(page, "模型")
    reach(page, "ready")
    expect(card(page)).to_contain_text("就绪")
    expect(card(page)).to_contain_text("后卸载")
    expect(card(page).get_by_role("button", name="卸载")).to_be_visible()
    expect(card(page, "base")).to_contain_text("不可用")
    expect(card(page, "base")).to_contain_text("Step-Audio-Tokenizer 中没有权重")


def test_why_a_model_is_not_available_is_said_in_chinese(
    visit: Callable[..., Visit], site: RunningServer, tmp_path: Path
) -> None:
    page = visit(site, locale="zh-CN").page

    def translated(reason: str) -> object:
        return page.evaluate("(reason) => EditX.translated('reason', reason)", reason)

    def said(variant: str) -> object:
        return translated(next(spec.reason for spec in catalog(tmp_path) if spec.name == variant).split("; fetch")[0])

    tokenizer, model = tmp_path / "Step-Audio-Tokenizer", tmp_path / "Step-Audio-EditX"
    assert said("base") == f"{model} 和 {tokenizer} 中没有权重"
    tokenizer.mkdir()
    (tokenizer / "README.md").write_text("x")
    assert said("base") == f"{model} 中没有权重"
    model.mkdir()
    (model / "config.json").touch()
    assert said("base") == f"{model}/model.safetensors 等文件缺失或损坏"
    assert translated(str(Problem(model, "is missing"))) == f"缺少 {model}"
    pool = ModelPool([PoolVariant("awq", factory=object, memory_bytes=2**32)], budget_bytes=2**31)
    assert str(translated(pool.misfit("awq"))).startswith("awq 约需 4.00 GiB，超过 2.00 GiB 的全部预算；")
    pool.shutdown()


def test_a_page_behind_a_key_watches_a_model_leave(visit: Callable[..., Visit], tmp_path: Path) -> None:
    with running_server(tmp_path, "--api-key", "a-key", "--idle-timeout", "3") as server:
        server.client.headers["Authorization"] = "Bearer a-key"
        visited = visit(server)
        page = visited.page
        visited.expected.append("401")
        page.get_by_label("API key").fill("a-key")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=tablist]")
        watch(page)
        reach(page, "unloaded")
        card(page).get_by_role("button", name="Load", exact=True).click()
        reach(page, "ready")
        reach(page, "unloaded")
        expect(card(page)).to_contain_text("Unloads1")
        assert server.status()["loads"] == 1, "watching neither wakes a model nor restarts its clock"
        page.context.clear_cookies(name="editx_key")
        expect(page.locator("#models-cards [role=alert]").first).to_contain_text("Reload the page")
        visited.close()


def test_a_load_that_fails_says_why(visit: Callable[..., Visit], tmp_path: Path, damaged_root: Path) -> None:
    with running_server(tmp_path, "--model-path", str(damaged_root), "--device", "cpu") as server:
        visited = visit(server)
        visited.expected.append("503")
        watch(visited.page)
        reach(visited.page, "unloaded", "base")
        base = card(visited.page, "base")
        base.get_by_role("button", name="Load", exact=True).click()
        alert = base.get_by_role("alert")
        expect(alert).to_contain_text("flow.pt", timeout=60_000)
        expect(alert).not_to_contain_text("Traceback")
        expect(base.get_by_role("button", name="Load", exact=True)).to_be_enabled()
        visited.close()


def _loads_shown(page: Page) -> int:
    loads = card(page).locator("dl > div", has=page.get_by_text("Loads", exact=True)).locator("dd")
    return int(loads.text_content() or "-1")
