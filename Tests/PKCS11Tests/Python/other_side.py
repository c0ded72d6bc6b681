"""The AWS Encryption SDK for Python with the raw key that a token holds: from standard input to standard output.

other_side.py (seal|open) NAMESPACE KEY-NAME (aes|rsa):FILE CONTEXT-AS-JSON
"""

import json
import sys

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

action, namespace, name, key, context = sys.argv[1:6]
kind, path = key.split(":", 1)
with open(path, "rb") as file:
    content = file.read()


class TokenKey(RawMasterKeyProvider):
    provider_id = namespace

    def _get_raw_key(self, key_id):
        if kind == "aes":
            return WrappingKey(
                WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, content, EncryptionKeyType.SYMMETRIC)
        return WrappingKey(
            WrappingAlgorithm.RSA_OAEP_SHA1_MGF1, content,
            EncryptionKeyType.PUBLIC if action == "seal" else EncryptionKeyType.PRIVATE)


keys = TokenKey()
keys.add_master_key(name.encode())
client = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
if action == "seal":
    output, _ = client.encrypt(
        source=sys.stdin.buffer.read(), key_provider=keys, encryption_context=json.loads(context),
        algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, frame_length=4096)
else:
    output, _ = client.decrypt(source=sys.stdin.buffer.read(), key_provider=keys)
sys.stdout.buffer.write(output)
