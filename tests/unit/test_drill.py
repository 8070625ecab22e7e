"""The objects of a restored snapshot, and the faults that a cluster restored from it would have."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from nacl.secret import SecretBox

from kubekeel.drill import Drill
from kubekeel.encryption import EncryptionKey

KEY, OTHER = (EncryptionKey(name, b64encode(letter * 32).decode()) for name, letter in (("key1", b"a"), ("key2", b"b")))


def sealed(key: EncryptionKey, provider: str = "secretbox") -> str:
    """Return an encrypted value as etcdctl prints it; its nonce has a colon and a newline."""
    box = SecretBox(b64decode(key.secret))
    value = f"k8s:enc:{provider}:v1:{key.name}:".encode() + box.encrypt(b"k8s\0text", b":\n" * 12)
    return b64encode(value + b"\n").decode()


def shown(*lines: str, written: int = 8, served: int = 8) -> Drill:
    status = [{"Status": {"header": {"revision": served}}}]
    return Drill.read([f"written {json.dumps({'revision': written})}", f"served {json.dumps(status)}", *lines])


SECRETS = ("objects 3 secrets", f"encrypted 2 secrets secretbox key1 {sealed(KEY)}")


def test_objects_of_a_snapshot_are_counted_by_kind_and_key() -> None:
    drill = shown("objects 12 pods", *SECRETS)
    assert drill.objects == {"pods": 12, "secrets": 3}
    assert [(part.count, part.provider, part.key) for part in drill.encrypted["secrets"]] == [(2, "secretbox", "key1")]
    assert list(drill.faults((KEY, OTHER))) == []


def test_a_key_that_the_backup_lacks_is_named() -> None:
    assert list(shown(*SECRETS).faults((OTHER,))) == [
        "secrets: 2 cannot be read (encrypted with key1, which is not in the backup: that has key2);"
        " take another backup, with the keys in use"
    ]


def test_a_key_that_does_not_decrypt_is_named() -> None:
    wrong = EncryptionKey("key1", OTHER.secret)
    (fault,) = shown(*SECRETS).faults((wrong,))
    assert "the backup's key1 does not decrypt it" in fault


def test_an_encryption_that_cannot_be_checked_is_named() -> None:
    (fault,) = shown("objects 1 secrets", f"encrypted 1 secrets aescbc key1 {sealed(KEY, 'aescbc')}").faults((KEY,))
    assert "encrypted by aescbc, which Kubekeel cannot check" in fault


def test_another_revision_and_an_empty_snapshot_are_faults() -> None:
    (fault,) = shown(*SECRETS, served=7).faults((KEY,))
    assert fault.startswith("snapshot.db: etcd serves another revision than it has (7, not 8)")
    assert len(list(Drill.read([]).faults((KEY,)))) == 2
    (fault,) = shown().faults((KEY,))
    assert fault.startswith("snapshot.db: contains no Kubernetes object")
