"""Every setting, declared once: default, unit, help. Flags, `EDITX_*` variables and a TOML file all fill this model.

Order of precedence: flags, environment, the file named by `--config` or `EDITX_CONFIG` (else `editx.toml` in the
working directory, where there is one), defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import AfterValidator, AllowInfNan, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from editx.errors import InvalidRequest

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(value: object) -> object:
    """Bytes from "12GB", "500 MiB" or a plain number. Raises ValueError naming the form expected."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{0,20}\.?[0-9]{1,20})\s*([kmgt]i?)?b?\s*", value.lower())
    if not match:
        raise ValueError(f"a size is a number of bytes or like 12GB or 500MiB, not {value!r}")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def _words(value: object) -> object:
    return [word for word in re.split(r"[,\s]+", value) if word] if isinstance(value, str) else value


def _proxies(addresses: list[str]) -> list[str]:
    """Raises ValueError naming the first that is no address, network or *."""
    for address in addresses:
        if address != "*":
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                raise ValueError(f"an address such as 127.0.0.1, a network such as 10.0.0.0/8, or *; {error}") from None
    return ["*"] if "*" in addresses else addresses


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0, le=10**18)]
Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]
Proxies = Annotated[Words, AfterValidator(_proxies)]
Secrets = Annotated[list[SecretStr], NoDecode, BeforeValidator(_words)]
Seconds = Annotated[float, AllowInfNan(False), Field(le=1e9)]


class Settings(BaseSettings):
    """How this process is run."""

    model_config = SettingsConfigDict(env_prefix="EDITX_", extra="forbid", frozen=True, env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    model_path: Path = Field(Path("models"), description="Directory that holds the published checkpoint directories.")
    data_dir: Path = Field(
        user_data_path("editx", appauthor=False), description="Directory for the voice library and caches."
    )
    default_variant: Literal["auto", "base", "awq", "bnb", "lite"] = Field(
        "auto", description="Variant that answers when a request names none; auto takes the first that can be loaded."
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$",
        description="Where the native engine runs: auto, cuda, cuda:1, mps or cpu; lite always runs on the CPU.",
    )
    max_batch: int = Field(
        4, ge=1, le=64, description="Requests one native model works on at once; each takes GPU memory for its context."
    )
    idle_timeout: Seconds = Field(
        300.0, description="Seconds without use after which a model is unloaded; 0 at once, negative never."
    )
    disable_auto_unload: bool = Field(False, description="Keep loaded models until they are unloaded by hand.")
    max_loaded: int | None = Field(
        None, ge=1, description="Most variants loaded at once; only memory limits it if unset."
    )
    gpu_memory_budget: Bytes | None = Field(
        None, description="GPU memory for all models, such as 12GB; 90 % of the GPU's if unset."
    )
    queue_size: int = Field(64, ge=1, description="Requests that may wait for a model; more are answered 429.")
    stall_timeout: Seconds = Field(
        120.0, gt=0, description="Seconds without a sign of life after which a worker is killed."
    )
    drain_timeout: Seconds = Field(30.0, ge=0, description="Seconds an unload waits for requests under way.")
    zygote: bool = Field(True, description="Fork workers from a process that has imported the engine already.")
    worker_memory_limit: Bytes | None = Field(
        None, description="Address space of one worker above what it starts with, such as 8GB; no limit if unset."
    )
    api_key: Secrets = Field(
        default_factory=list, description="Keys that clients must present as bearer tokens, separated by commas."
    )
    cors_origins: Words = Field(
        default_factory=list, description="Web origins that may call the API, separated by commas; * for all."
    )
    trusted_proxies: Proxies = Field(
        default_factory=lambda: ["127.0.0.1"],
        description="Addresses or networks of proxies whose X-Forwarded headers count, separated by commas; * for all.",
    )
    allowed_hosts: Words = Field(
        default_factory=list,
        description="Names by which a server without a key may be called on its loopback address, separated by commas: "
        "that of a proxy, say; * for all. Addresses, localhost and names without a dot always may.",
    )
    max_body: Bytes = Field(100_000_000, description="Most bytes of one request body.")
    max_audio_seconds: Seconds = Field(300.0, gt=0, description="Most seconds of one uploaded recording.")
    max_text_chars: int = Field(20_000, ge=1, description="Most characters of one text to be spoken.")
    allow_url_audio: bool = Field(False, description="Fetch audio that a request names by a public http(s) URL.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much the log says.")

    @property
    def auto_unload(self) -> bool:
        return not self.disable_auto_unload and self.idle_timeout >= 0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _FileSource(settings_cls))


class _FileSource(PydanticBaseSettingsSource):
    """Values of the TOML file, where there is one."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise LookupError(field_name)  # only __call__ is used: the file is read once, as a whole

    def __call__(self) -> dict[str, Any]:
        named = os.environ.get("EDITX_CONFIG")
        path = Path(named or "editx.toml")
        if not named and not path.exists():
            return {}
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"the settings file {path} cannot be read: {error}", param="config") from error


def load_settings(**flags: Any) -> Settings:
    """Settings from flags that are not None, then environment, file and defaults.

    Raises InvalidRequest naming each setting that does not fit and where it can be set.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        ]
        raise InvalidRequest(
            f"settings do not fit (flags, EDITX_* variables or settings file): {'; '.join(lines)}", param="settings"
        ) from error


def flag_of(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def default_of(name: str) -> str:
    """The default of a setting as it would be typed; empty where it has none, or the machine decides it."""
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    if default is None or name == "data_dir":
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(default) if isinstance(default, list) else str(default)


def settings_table() -> str:
    """A Markdown table of all settings, as the documentation shows it."""
    rows = ["| flag | variable | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        flag = f"{flag_of(name)} / {flag_of('no_' + name)}" if field.default is True else flag_of(name)
        shown = "the user's data directory" if name == "data_dir" else default_of(name)
        rows.append(f"| `{flag}` | `EDITX_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
