"""What this machine knows about its package mirrors, carried into a tree: no address is written anywhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.fresh.tree import Tree

CODENAME = "bookworm"
CERTIFICATES = "/run/host/certificates.pem"
CARRIED = re.compile(r"PIP_\w+|npm_config_\w+|(https?|ftp|all|no)_proxy", re.IGNORECASE)
BUNDLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True, slots=True)
class Host:
    """What installers are to know.

    `environment`: their variables. `binds`: directories that these name. `certificates`: a bundle of whom to trust.
    """

    environment: Mapping[str, str]
    binds: tuple[Path, ...]
    certificates: Path | None

    @classmethod
    def here(cls) -> Host:
        """This machine's."""
        found = {name: value for name, value in os.environ.items() if CARRIED.fullmatch(name)}
        found |= _pip_configuration()
        found.pop("PIP_CONSTRAINT", None)  # a file of this machine; which versions are taken ours says
        named = [os.environ.get(name) or found.get(name) for name in BUNDLES]
        bundle = next((Path(path) for path in named if path and Path(path).is_file()), None)
        for name in BUNDLES:
            found.pop(name, None)
            if bundle:
                found[name] = CERTIFICATES
        values = [*found.values(), *(_sources().values())]
        return cls(found, _directories(values), bundle)

    def mirror(self) -> str | None:
        """The first mirror of this Debian release that apt asks here, where this machine runs the release itself."""
        found = re.search(rf"(?:^URIs:\s*|^deb\s+(?:\[[^\]]*\]\s+)?)(\S+)(?=\s+{CODENAME}\s|\s*$)",
                          "\n".join(_sources().values()), re.MULTILINE)  # fmt: skip
        return found[1] if found else None

    def configure(self, tree: Tree) -> None:
        """Let apt in `tree` ask what apt asks here, and installers trust whom they trust here."""
        if self.certificates:
            target = tree.inside(CERTIFICATES)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.certificates, target)
        dumped = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
        apt = tree.inside("etc/apt")
        (apt / "apt.conf.d/99host").write_text(dumped)
        for file in Path("/etc/apt/auth.conf.d").glob("*.conf"):
            shutil.copy2(file, apt / "auth.conf.d" / file.name)
        sources = _sources()
        if sources:
            (apt / "sources.list").unlink(missing_ok=True)
        for path, text in sources.items():
            (apt / "sources.list.d" / path.name).write_text(text)
            for keyring in map(Path, re.findall(r"signed-by[:=]\s*(/[^\s\]]+)", text, re.IGNORECASE)):
                target = tree.inside(str(keyring))
                if keyring.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(keyring, target)


def _sources() -> dict[Path, str]:
    """The files that name this machine's mirrors, by path; none where it runs another release than the tree."""
    release = Path("/etc/os-release").read_text("utf-8")
    if not re.search(rf"^VERSION_CODENAME=\"?{CODENAME}\"?$", release, re.MULTILINE):
        return {}
    etc = Path("/etc/apt")
    paths = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    texts = {path: path.read_text("utf-8") for path in paths if path.suffix in (".list", ".sources") and path.is_file()}
    return {path: text for path, text in texts.items() if re.search(rf"\b{CODENAME}\b", text)}


def _pip_configuration() -> dict[str, str]:
    """What pip's files say here, as variables; a variable that is set wins."""
    python = next((path for path in (sys.executable, "python3") if shutil.which(path)), "python3")
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True)
    if listed.returncode:
        return {}  # no pip here, so nothing that it was told
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        match = re.fullmatch(r"(?:global|install|:env:)\.([\w-]+)='(.*)'", line)
        if match:
            value = match[2].replace("\\n", " ").strip()
            found["PIP_" + match[1].upper().replace("-", "_")] = value
    return found | {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _directories(values: list[str]) -> tuple[Path, ...]:
    """Directories that settings name by path or file address; an index with the folder that its links lead to."""
    found: list[Path] = []
    for word in " ".join(values).split():
        split = urlsplit(word)
        path = Path(split.path if split.scheme in ("file", "copy") else word)
        if not path.is_absolute() or not path.is_dir() or split.netloc:
            continue
        index = split.scheme == "file" and len(path.parts) > 3
        found.append(path.parent if index else path)
    return tuple(dict.fromkeys(found))
