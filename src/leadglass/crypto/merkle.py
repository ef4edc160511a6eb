"""RFC 6962 Merkle trees: hashes, the right edge of a growing tree, inclusion and consistency proofs.

Pure functions over bytes. Ref: RFC 6962 2.1; RFC 9162 2.1.3.2 and 2.1.4.2 for the verification algorithms.
"""

import hashlib
from collections.abc import Sequence

from leadglass.errors import Damaged

__all__ = [
    "Edge", "consistency_proof", "inclusion_proof", "leaf_hash", "node_hash", "root_hash", "verify_consistency",
    "verify_inclusion",
]

_HASH = 32


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """The roots of the perfect subtrees of a tree, largest first: all that an append needs (at most 64 hashes)."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Raises: Damaged, when the count of hashes does not fit the size."""
        if len(hashes) != size.bit_count() or any(len(h) != _HASH for h in hashes):
            raise Damaged("the edge of the ledger's tree does not fit its size.")
        self.size = size
        self._hashes = list(hashes)

    @classmethod
    def from_bytes(cls, data: bytes, size: int) -> "Edge":
        """Return the edge kept as `data` for a tree of `size` leaves. Raises: Damaged."""
        if len(data) % _HASH:
            raise Damaged("the edge of the ledger's tree is cut.")
        return cls(size, [data[i : i + _HASH] for i in range(0, len(data), _HASH)])

    def to_bytes(self) -> bytes:
        """Return the hashes, largest subtree first."""
        return b"".join(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash on the right."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._hashes.pop(), node)
            size >>= 1
        self._hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash; of no leaves, SHA-256 of nothing."""
        if not self._hashes:
            return hashlib.sha256().digest()
        node = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            node = node_hash(left, node)
        return node


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count` (count >= 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Return MTH over leaf hashes."""
    edge = Edge()
    for leaf in leaves:
        edge.append(leaf)
    return edge.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return PATH(index, leaves), lowest node first. Raises: ValueError."""
    if not 0 <= index < len(leaves):
        raise ValueError("index outside the tree")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_proof(leaves[:k], index), root_hash(leaves[k:])]
    return [*inclusion_proof(leaves[k:], index - k), root_hash(leaves[:k])]


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return PROOF(old_size, leaves). Raises: ValueError."""
    if not 0 < old_size <= len(leaves):
        raise ValueError("old size outside the tree")
    return _subproof(leaves, old_size, is_whole=True)


def _subproof(leaves: Sequence[bytes], m: int, *, is_whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if is_whole else [root_hash(leaves)]
    k = _split(len(leaves))
    if m <= k:
        return [*_subproof(leaves[:k], m, is_whole=is_whole), root_hash(leaves[k:])]
    return [*_subproof(leaves[k:], m - k, is_whole=False), root_hash(leaves[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether `leaf` is at `index` of the tree with `root`. Ref: RFC 9162 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and node == root


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Return whether the tree with `old_root` is a prefix of that with `new_root`. Ref: RFC 9162 2.1.4.2."""
    if old_size == new_size:
        return not proof and old_root == new_root
    if not 0 < old_size < new_size:
        return False
    path = list(proof)
    if old_size.bit_count() == 1:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(node, fr), node_hash(node, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root
