"""Provenance: what it says, that JSON can hold it, and that digests tell contents apart, not places."""

import hashlib
import json
import socket
import sys
from pathlib import Path

import pytest

from stormda.errors import InputMissing
from stormda.store.provenance import digest, provenance


def test_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/anywhere/bin/stormda", "assimilate", "-c", "my config.yaml"])
    facts = json.loads(json.dumps(provenance("name: a\n", cycle="2019-02-17T12:00Z", counts={"synop": {"used": 3}})))
    assert facts["command"] == "stormda assimilate -c 'my config.yaml'"
    assert facts["config_sha256"] == hashlib.sha256(b"name: a\n").hexdigest()
    assert facts["cycle"] == "2019-02-17T12:00Z"
    assert facts["counts"] == {"synop": {"used": 3}}
    assert facts["packages"]["numpy"]
    assert facts["created"].endswith("Z")
    assert socket.gethostname() not in json.dumps(facts)


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, the example of one block.
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_of_a_folder_depends_on_contents_and_names_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("1")
        (tmp_path / name / "y").write_text("2")
    first = digest(tmp_path / "one")
    assert first == digest(tmp_path / "two")
    (tmp_path / "two" / "y").write_text("3")
    assert first != digest(tmp_path / "two")
    (tmp_path / "one" / "y").rename(tmp_path / "one" / "z")
    assert first != digest(tmp_path / "one")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputMissing):
        digest(tmp_path / "none")
