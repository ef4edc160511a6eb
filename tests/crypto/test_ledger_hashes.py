"""Leaves, trees, proofs and signed notes against vectors, the RFC's own examples, and a second implementation."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadglass.audit.entry import commitment_entry
from leadglass.crypto import merkle
from leadglass.crypto.signing import Signer, Verifier
from leadglass.errors import Damaged

VECTORS = json.loads((Path(__file__).parent / "vectors" / "ledger-v1.json").read_text("utf-8"))


def test_ledger_vectors() -> None:
    edge = merkle.Edge()
    for entry in VECTORS["entries"]:
        leaf = merkle.leaf_hash(commitment_entry(bytes.fromhex(entry["salt"]), entry["record"].encode()))
        assert leaf.hex() == entry["leaf"]
        edge.append(leaf)
        assert edge.root().hex() == entry["root"]
    checkpoint = VECTORS["checkpoint"]
    signer = Signer(checkpoint["name"], bytes.fromhex(VECTORS["seed"]))
    text = Verifier(checkpoint["vkey"]).open(checkpoint["note"])
    assert signer.vkey() == checkpoint["vkey"]
    assert signer.sign(text) == checkpoint["note"]


def test_the_roots_that_every_implementation_of_rfc_6962_knows() -> None:
    """Inputs and roots: the reference implementation's own test data."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [merkle.leaf_hash(bytes.fromhex(i)) for i in inputs]
    assert merkle.root_hash([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.root_hash(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.root_hash(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.integers(1, 70), st.data())
def test_proofs_hold_for_the_right_leaf_and_for_no_other(size: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(n.to_bytes(2, "big")) for n in range(size)]
    root = merkle.root_hash(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(leaves, index)
    assert merkle.verify_inclusion(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        assert not merkle.verify_inclusion(leaves[other], index, size, proof, root)
        assert not merkle.verify_inclusion(leaves[index], other, size, proof, root)
    old = data.draw(st.integers(1, size))
    path = merkle.consistency_proof(leaves, old)
    old_root = merkle.root_hash(leaves[:old])
    assert merkle.verify_consistency(old, size, path, old_root, root)
    assert not merkle.verify_consistency(old, size, path, hashlib.sha256(old_root).digest(), root)


def test_an_edge_that_does_not_fit_is_damage() -> None:
    edge = merkle.Edge()
    for n in range(11):
        edge.append(merkle.leaf_hash(bytes([n])))
    assert merkle.Edge.from_bytes(edge.to_bytes(), 11).root() == edge.root()
    for data, size in ((edge.to_bytes()[:-1], 11), (edge.to_bytes(), 10), (b"", 1)):
        with pytest.raises(Damaged):
            merkle.Edge.from_bytes(data, size)


def test_a_note_that_was_changed_or_signed_by_another_is_refused() -> None:
    signer, other = Signer("a.example/leadglass", b"1" * 32), Signer("a.example/leadglass", b"2" * 32)
    note = signer.sign("a.example/leadglass\n5\nAAAA\n")
    verifier = Verifier(signer.vkey())
    assert verifier.open(note) == "a.example/leadglass\n5\nAAAA\n"
    for bad in (note.replace("\n5\n", "\n6\n"), other.sign("a.example/leadglass\n5\nAAAA\n"), "", "no signature\n"):
        with pytest.raises(Damaged):
            verifier.open(bad)
    with pytest.raises(Damaged):
        Verifier("not a key")
