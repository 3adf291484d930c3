"""The door to artefacts: a file is known by its content, whatever a list says; what is in force has a name."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from contract.toy import Total

from opintel.detector import Controls, model_hash
from opintel.streams.artefacts import KEPT, MODEL, SUMS, Artefacts, ArtefactUnavailable, closed, in_force, sha_of


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


def test_a_file_is_found_under_its_hash_or_by_a_list_of_sums(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (two / "v3").mkdir(parents=True)
    one.mkdir()
    (one / sha(b"weights")).write_bytes(b"weights")
    (two / "v3" / "table.npy").write_bytes(b"table")
    (two / "v3" / SUMS).write_text(f"{sha(b'other')}  other\n{sha(b'table')} *table.npy\nno line of sums\n")
    door = Artefacts([str(one), two.as_uri()])
    assert door(sha(b"weights")).data == b"weights"
    assert door(sha(b"table")) == (sha(b"table"), b"table")
    with pytest.raises(ArtefactUnavailable, match="expected a file of that name, or its line in a SHA256SUMS"):
        door(sha(b"other"))


def test_what_has_another_content_or_lies_elsewhere_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / sha(b"weights")).write_bytes(b"tampered")
    sums = [f"{sha(b'secret')}  {name}" for name in ("../secret", "..", str(tmp_path / "secret"))]
    (tmp_path / "v1" / SUMS).write_text("\n".join([*sums, f"{sha(b'weights')}  weights"]))
    door = Artefacts([str(tmp_path)])
    for data in (b"secret", b"weights"):
        with pytest.raises(ArtefactUnavailable):
            door(sha(data))
    (tmp_path / "v1" / "weights").write_bytes(b"weights")
    assert door(sha(b"weights")).data == b"weights"


def test_one_place_that_cannot_be_read_does_not_hide_another(tmp_path: Path) -> None:
    (tmp_path / sha(b"weights")).write_bytes(b"weights")
    door = Artefacts(["nosuchscheme://models", str(tmp_path)])
    assert door(sha(b"weights")).data == b"weights"
    with pytest.raises(ArtefactUnavailable, match="nosuchscheme"):
        door(sha(b"table"))


def test_what_was_opened_last_stays_open(tmp_path: Path) -> None:
    files = [b"%d" % n for n in range(KEPT + 1)]
    for data in files:
        (tmp_path / sha(data)).write_bytes(data)
    door = Artefacts([str(tmp_path)])
    for data in files:
        assert door(sha(data)).data == data
    for data in files:
        (tmp_path / sha(data)).unlink()
    assert [door(sha(data)).data for data in files[1:]] == files[1:]
    with pytest.raises(ArtefactUnavailable):
        door(sha(files[0]))
    with pytest.raises(ArtefactUnavailable, match="no place to look"):
        closed(sha(files[0]))


def test_names_without_a_control_are_missing_and_need_no_door() -> None:
    assert in_force(["taps", "level"], Controls({("scale", "taps"): (1, 5)}), closed) == {}
    named = Controls({(MODEL, "taps"): (1, {"sha256": sha(b"taps")})})
    with pytest.raises(ArtefactUnavailable):
        in_force(["taps", "level"], named, closed)


@pytest.mark.parametrize("value", [None, "x", {}, {"sha256": 5}, {"sha256": "A" * 64}, {"sha256": "a" * 63}])
def test_a_control_that_names_no_sum_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        sha_of(value)


def test_the_model_says_which_name_an_artefact_has() -> None:
    judge, settings = Total(), Total.Settings()
    pairs = [{}, {"a": "1"}, {"b": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "1"}]
    models = [model_hash(judge, "s", settings, Controls(), artefacts=pair) for pair in pairs]
    assert len(set(models)) == len(models)
    assert models[0] == model_hash(judge, "s", settings, Controls())
