"""The parts of a stream's YAML that only its domain can judge: its wire and its detectors."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from site_yaml import MINIMAL, problems, write

from opintel.fts.judging.cause_rates import CauseSettings
from opintel.fts.judging.failures import LinkSettings
from opintel.site.errors import ConfigError
from opintel.site.load import load_site
from opintel.site.watched import detector_settings, public_key_warning, wire_settings


class Wire:
    def __init__(
        self, *, instance: str = "", pseudonym_key: bytes = b"public", keep_personal: bool = False
    ) -> None: ...


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cap: int = 5
    fdr: float = 0.05


def test_wire_settings_are_checked_and_secrets_read(site_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site_folder / "streams" / "key").write_text("from a file\n")
    write(site_folder, MINIMAL + "wire:\n  instance: a.example.org\n  pseudonym_key_file: key\n")
    site = load_site(site_folder)
    assert wire_settings(site, "fts", Wire) == {"instance": "a.example.org", "pseudonym_key": b"from a file"}
    assert public_key_warning(site, {"fts": Wire}) == ""
    assert "from a file" not in repr(site)
    write(site_folder, MINIMAL + "wire:\n  pseudonym_key_env: THE_KEY\n")
    monkeypatch.setenv("THE_KEY", "from outside")
    assert wire_settings(load_site(site_folder), "fts", Wire) == {"pseudonym_key": b"from outside"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("instance: 5", "wire.instance: expected `str`, got `int`"),
        ("instnace: a", "wire.instnace: unknown key; did you mean `instance`?"),
        ("pseudonym_key: abc", "wire.pseudonym_key: a secret is not written in YAML; use `pseudonym_key_file`"),
        (
            "pseudonym_key_file: nowhere",
            "wire.pseudonym_key_file: {site}/streams/nowhere cannot be read: No",
        ),
        ("pseudonym_key_env: NOT_SET", "wire.pseudonym_key_env: the environment variable NOT_SET is not set"),
    ],
)
def test_wrong_wire_settings_are_named(site_folder: Path, line: str, expected: str) -> None:
    write(site_folder, MINIMAL + f"wire:\n  {line}\n")
    site = load_site(site_folder)
    with pytest.raises(ConfigError) as caught:
        wire_settings(site, "fts", Wire)
    assert str(caught.value).startswith(f"{site_folder}/streams/fts.yaml:5: {expected.format(site=site_folder)}")


def test_the_public_key_warns(site_folder: Path) -> None:
    assert "shipped public key" in public_key_warning(load_site(site_folder), {"fts": Wire})
    assert public_key_warning(load_site(site_folder), {"fts": lambda: None}) == ""


def test_detectors_have_their_settings(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.links: {cap: 7}\n")
    known = {"fts.links": Settings, "fts.other": Settings}
    found = detector_settings(load_site(site_folder), "fts", known)
    assert found == {"fts.links": Settings(cap=7), "fts.other": Settings()}


@pytest.mark.parametrize("value", [".nan", "-.inf", f"[{'1000000, ' * 9000}1]"])
def test_settings_that_cannot_travel_are_told(site_folder: Path, value: str) -> None:
    class Loose(msgspec.Struct):
        cap: float | list[int] = 0.0

    write(site_folder, MINIMAL + f"detectors:\n  fts.loose: {{cap: {value}}}\n")
    with pytest.raises(ConfigError, match="travels as a control"):
        detector_settings(load_site(site_folder), "fts", {"fts.loose": Loose})


@pytest.mark.parametrize("line", ["emit: -.inf", "emit: .nan", f"max_findings: {10**30}", "max_findings: -1"])
def test_no_setting_of_a_judge_is_beyond_all_measure(site_folder: Path, line: str) -> None:
    write(site_folder, MINIMAL + f"detectors:\n  fts.links:\n    {line}\n")
    with pytest.raises(ConfigError, match=rf"fts.yaml:6: detectors.fts.links.{line.split(':')[0]}: "):
        detector_settings(load_site(site_folder), "fts", {"fts.links": LinkSettings})


def test_wrong_detectors_are_named(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.link: {}\n  fts.other:\n    cap: many\n    fdrr: 1\n")
    with pytest.raises(ConfigError) as caught:
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings, "fts.other": Settings})
    assert [str(problem).partition("fts.yaml:")[2] for problem in caught.value.problems] == [
        "5: detectors.fts.link: unknown detector; did you mean `fts.links`?",
        "7: detectors.fts.other.cap: expected `int`, got `str`",
        "8: detectors.fts.other.fdrr: unknown key; did you mean `fdr`?",
    ]


def test_a_part_stands_in_a_file_of_its_own_and_its_problems_name_that(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.links: {include: ../models/limits.yaml}\n")
    (site_folder / "models").mkdir()
    limits = site_folder / "models/limits.yaml"
    limits.write_text("# ours\ncap: 7\n")
    assert detector_settings(load_site(site_folder), "fts", {"fts.links": Settings}) == {"fts.links": Settings(cap=7)}
    limits.write_text("# ours\ncap: many\n")
    with pytest.raises(ConfigError, match=r"models/limits.yaml:2: detectors.fts.links.cap: expected `int`, got `str`"):
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings})
    limits.write_text("cap: {include: limits.yaml}\n")
    with pytest.raises(ConfigError, match=r"limits.yaml:1: detectors.fts.links.cap: expected `int`, got `object`"):
        detector_settings(load_site(site_folder), "fts", {"fts.links": Settings})
    limits.unlink()
    assert "limits.yaml: cannot be read" in problems(site_folder)[0]


def test_a_site_without_the_shipped_part_has_the_shipped_one(site_folder: Path) -> None:
    write(site_folder, MINIMAL + "detectors:\n  fts.causes: {include: ../models/fts-causes.yaml}\n")
    found = detector_settings(load_site(site_folder), "fts", {"fts.causes": CauseSettings})["fts.causes"]
    assert len(found.families) > 20
