"""Reading `cosyvoice.yaml`: what it names is never run, and what is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from editx.engines.step.decoder import hyperyaml
from editx.engines.step.decoder.config import BigVGANConfig, DecoderConfig
from editx.engines.step.decoder.hyperyaml import CLASS, Opaque
from editx.engines.step.synth.decoder import decoder_yaml
from editx.engines.step.synth.sizes import TINY
from editx.errors import LoadFailed
from tests import golden

TEXT = decoder_yaml(TINY.flow, TINY.vocoder)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system",
        "!!python/object/new:os.system",
        "!!python/name:os.system",
        "!!python/module:os",
        "!apply:os.system",
        "!name:os.system",
        "!new:os.system",
        "!module:os",
        "!include",
        "!anything",
    ],
)
def test_nothing_that_a_tag_names_is_run(tag: str, tmp_path: Path) -> None:
    trace = tmp_path / "was here"
    for value in (f"['touch {trace}']", f"touch {trace}", f"{{command: 'touch {trace}'}}"):
        read = hyperyaml.read(f"a: {tag} {value}\nb: 1\n")
        assert not trace.exists()
        assert read["b"] == 1
        assert isinstance(read["a"], Opaque) or read["a"].get(CLASS) == "system"  # type: ignore[attr-defined]


def test_tags_become_plain_values() -> None:
    read = hyperyaml.read("a: !new:x.y.Z\n    b: 2\n    c: !name:x.y [1]\nd: !new:x.y.Nothing\ne: [!odd 1, 2]\n")
    assert read == {
        "a": {CLASS: "Z", "b": 2, "c": Opaque("!name:x.y")},
        "d": {CLASS: "Nothing"},
        "e": [Opaque("!odd"), 2],
    }


def test_references_are_the_scalars_they_name() -> None:
    text = "rate: 24000\nagain: !ref <rate>\nname: x\nlist: [1]\nin: {a: !ref <again>, b: [!ref <name>, !ref <list>]}\n"
    assert hyperyaml.read(text)["in"] == {"a": 24000, "b": ["x", Opaque("!ref")]}
    assert hyperyaml.read("a: !ref <gone>\nb: !ref <a> * 2\nc: !ref [1]\n") == dict.fromkeys("abc", Opaque("!ref"))


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("a: !ref <b>\nb: !ref <a>\n", "deeper"),
        ("a: [1", "not readable YAML"),
        ("[1, 2]", "no mapping"),
        ("", "no mapping"),
        ("? [1]\n: 2\n", "not readable YAML"),
        ("a: " + "[" * 1500, "not readable YAML"),
        ("a: 1\n" * 300_000, "1500000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, because: str) -> None:
    with pytest.raises(LoadFailed, match=because) as raised:
        hyperyaml.read(text, "some/cosyvoice.yaml")
    assert "some/cosyvoice.yaml" in raised.value.message


def test_both_places_of_the_guidance() -> None:
    inside = "        inference_cfg_rate: 0.7\n"
    assert DecoderConfig.read(TEXT).flow.guidance == 0.7
    assert DecoderConfig.read(TEXT.replace(inside, inside.replace("0.7", "0.4"))).flow.guidance == 0.4
    below = "        cfm_params:\n            inference_cfg_rate: 0.3\n            solver: euler\n"
    assert DecoderConfig.read(TEXT.replace(inside, below)).flow.guidance == 0.3
    assert DecoderConfig.read(TEXT.replace(inside, "")).flow.guidance == 0.7


def test_a_referenced_rate() -> None:
    text = "rate: 24000\n" + TEXT.replace("sampling_rate: 24000", "sampling_rate: !ref <rate>")
    assert DecoderConfig.read(text) == DecoderConfig.read(TEXT)
    with pytest.raises(LoadFailed, match="mel_conf: sampling_rate is Opaque"):
        DecoderConfig.read(text.replace("rate: 24000\n", "", 1))


def test_the_other_vocoder() -> None:
    text = (
        TEXT[: TEXT.index("hift:")] + "hift: !new:stepvocoder.cosyvoice2.bigvgan.bigvgan.BigVGAN\n    resblock: '1'\n"
    )
    assert DecoderConfig.read(text).vocoder == BigVGANConfig()


@pytest.mark.parametrize(
    ("old", "new", "because"),
    [
        ("depth: 2", "depth: two", "flow: decoder: estimator: depth is 'two'; expected a number"),
        ("depth: 2", "depth: 2.5", "depth is 2.5; expected a whole number"),
        ("upsample_rates: [8, 5, 3]", "upsample_rates: 8", "upsample_rates is 8; expected a list of positive"),
        ("input_layer: 'linear'", "input_layer: 'conv'", "input_layer is 'conv'; expected 'linear'"),
        ("generator.HiFTGenerator", "generator.WaveNet", "'WaveNet'; expected 'HiFTGenerator' or 'BigVGAN'"),
        ("mel_conf:", "mel_of:", "mel_conf is missing; expected a mapping"),
    ],
)
def test_the_key_that_does_not_fit_is_named(old: str, new: str, because: str) -> None:
    assert old in TEXT
    with pytest.raises(LoadFailed) as raised:
        DecoderConfig.read(TEXT.replace(old, new), "here/cosyvoice.yaml")
    assert because in raised.value.message
    assert raised.value.message.startswith("here/cosyvoice.yaml")


def test_the_published_document() -> None:
    """Ours: files of other sizes may go by its name elsewhere, and are to be read all the same."""
    config = DecoderConfig.read((golden.OURS / "decoder_cosyvoice_sample.yaml").read_text("utf-8"))
    assert config.flow.dit.hidden_size == config.flow.encoder.output_size == 512
    for path in golden.matching("decoder_cosyvoice_sample*.yaml"):
        assert DecoderConfig.read(path.read_text("utf-8")).vocoder


@pytest.mark.parametrize("level", ["[{names}]", "{{<<: [{names}], k{i}: 1}}"])
def test_aliases_that_multiply_are_refused(level: str) -> None:
    first = "a0: &a0 " + level.format(names="", i=0).replace("<<: [], ", "") + "\n"
    text = first + "".join(
        f"a{i}: &a{i} {level.format(names=', '.join([f'*a{i - 1}'] * 9), i=i)}\n" for i in range(1, 40)
    )
    with pytest.raises(LoadFailed, match="more than any configuration"):
        hyperyaml.read(text)
    few = first + "".join(f"a{i}: &a{i} {level.format(names=f'*a{i - 1}', i=i)}\n" for i in range(1, 5))
    assert len(hyperyaml.read(few)) == 5
