"""All checks in order, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from editx.doctor.check import Check
from editx.doctor.engines import (
    check_compiler,
    check_decoder,
    check_native_engine,
    check_preview_engine,
    check_zygote,
)
from editx.doctor.files import check_files
from editx.doctor.gpu import check_gpu, check_torch, installed_torch, read_driver
from editx.doctor.machine import (
    check_clock,
    check_container,
    check_data_dir,
    check_memory,
    check_python,
    check_temporary,
)
from editx.doctor.port import check_port
from editx.doctor.variables import check_settings
from editx.doctor.weights import Place, check_weights
from editx.engines.catalog import VariantSpec, catalog, find, first_available
from editx.engines.layout import WEIGHT_DIRECTORIES
from editx.settings import Settings

NATIVE_HOST_BYTES = 2 * 10**9
"""Main memory of a worker whose model is on a GPU: torch, CUDA's libraries, buffers. An allowance."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, and the variant that a request without one would get; None when none could answer."""

    checks: tuple[Check, ...]
    variant: str | None

    @property
    def could_serve(self) -> bool:
        return self.variant is not None and all(check.status != "fail" for check in self.checks)


def diagnose(
    settings: Settings, report: Callable[[Check], None] = lambda check: None, *, verify: bool = False
) -> Diagnosis:
    """Look at everything; `report` hears of each check as it is done. Loads no model and changes nothing.

    `verify`: also read every file of the model directories, and compare it with what was recorded of it.
    """
    checks = []
    for check in _checks(settings, verify=verify):
        report(check)
        checks.append(check)
    return Diagnosis(tuple(checks), checks[-1].facts["variant"])


def _checks(settings: Settings, *, verify: bool) -> Iterator[Check]:
    yield check_python()
    yield check_settings()
    yield check_clock()
    yield check_container(settings.host)
    yield check_port(settings.host, settings.port)
    yield check_data_dir(settings.data_dir)
    yield check_temporary(settings.max_body)
    yield check_zygote(settings.zygote)
    yield check_decoder(settings.zygote)
    yield check_preview_engine()
    yield (native := check_native_engine())
    driver, torch = read_driver(), installed_torch()
    yield check_gpu(driver, settings.device)
    yield check_torch(torch, driver)
    place = Place(settings, driver, torch, works=native.status == "ok")
    if place.on_gpu:
        yield check_compiler()
    serving = _serving(place)
    main_memory, unusable = 0, ""
    for spec in _catalog(settings):
        if spec.name not in WEIGHT_DIRECTORIES:
            continue
        found = check_weights(spec, place)
        yield found.check
        if serving is not None and spec.name == serving.name:
            main_memory = NATIVE_HOST_BYTES if place.on_gpu else found.need.memory_bytes
            unusable = found.unusable or ("" if place.works else native.detail)
    if verify:
        yield from check_files(settings.model_path, serving.name if serving else "")
    yield check_memory(main_memory)
    yield check_serving(settings, serving, unusable)


def _serving(place: Place) -> VariantSpec | None:
    """The variant a request that names none would get, None when its files are not here."""
    specs = _catalog(place.settings)
    if place.settings.default_variant == "auto":
        return first_available(tuple(spec for spec in specs if not place.refusal(spec)))
    found = find(specs, place.settings.default_variant)
    return found if found is not None and found.available else None


def _catalog(settings: Settings) -> tuple[VariantSpec, ...]:
    return catalog(settings.model_path, device=settings.device, max_batch=settings.max_batch)


def check_serving(settings: Settings, variant: VariantSpec | None, unusable: str) -> Check:
    """`unusable`: what keeps the variant from being loaded, though its files are here."""
    name, facts = "would serve", {"variant": variant.name if variant and not unusable else None}
    if variant is not None and not unusable:
        return Check(name, "ok", f"{variant.name}: {variant.title}", facts=facts)
    spec = variant or find(_catalog(settings), settings.default_variant)
    assert spec is not None, "every name that the setting admits is in the catalog"
    detail = f"the default variant is {spec.name}: {unusable or spec.reason}"
    return Check(name, "fail", detail, "make it work, or choose another with --default-variant", facts)
