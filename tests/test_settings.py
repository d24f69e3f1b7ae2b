"""Flags, variables and a file fill one model, in that order of precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

from editx.errors import InvalidRequest
from editx.settings import Settings, flag_of, load_settings, parse_bytes, settings_table


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_beat_variables_beat_the_file_beats_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("editx.toml").write_text("port = 1\nqueue_size = 2\nidle_timeout = 3\n")
    monkeypatch.setenv("EDITX_PORT", "11")
    monkeypatch.setenv("EDITX_QUEUE_SIZE", "12")
    settings = load_settings(port=21, host=None)
    assert (settings.port, settings.queue_size, settings.idle_timeout) == (21, 12, 3.0)
    assert settings.host == "127.0.0.1"


def test_a_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text('cors_origins = ["http://a"]\n')
    monkeypatch.setenv("EDITX_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().cors_origins == ["http://a"]
    monkeypatch.setenv("EDITX_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(InvalidRequest, match=r"missing\.toml"):
        load_settings()


def test_lists_and_sizes_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITX_API_KEY", "key-1, key-2")
    monkeypatch.setenv("EDITX_GPU_MEMORY_BUDGET", "12GB")
    monkeypatch.setenv("EDITX_MAX_LOADED", "")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_key] == ["key-1", "key-2"]
    assert settings.gpu_memory_budget == 12 * 10**9
    assert settings.max_loaded is None
    assert "key-1" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("1.5 KiB", 1536), ("500MB", 500_000_000), ("2gi", 2**31), ("1 T", 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_what_does_not_fit_is_named_all_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_settings(port=-1, gpu_memory_budget="lots", default_variant="best")
    for word in ("port", "gpu_memory_budget", "12GB", "default_variant"):
        assert word in caught.value.message


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
@pytest.mark.parametrize("name", ["idle_timeout", "stall_timeout", "drain_timeout", "max_audio_seconds"])
def test_seconds_are_finite(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name}: Input should be a finite number"):
        load_settings(**{name: value})


def test_what_no_system_call_takes_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="gpu_memory_budget: a size is a number of bytes"):
        load_settings(gpu_memory_budget="9" * 400)
    with pytest.raises(InvalidRequest, match="max_body: Input should be less than or equal to 1000000000000000000"):
        load_settings(max_body="9999999999T")
    with pytest.raises(InvalidRequest, match="stall_timeout: Input should be less than or equal to 1000000000"):
        load_settings(stall_timeout=1e300)


def test_an_unknown_setting_in_the_file_is_refused() -> None:
    Path("editx.toml").write_text("prot = 1\n")
    with pytest.raises(InvalidRequest, match="prot"):
        load_settings()


def test_every_setting_has_help_and_a_row() -> None:
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`{flag_of(name)}" in table
        assert f"`EDITX_{name.upper()}`" in table
