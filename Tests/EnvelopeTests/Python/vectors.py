"""Writes ../Fixtures/vectors.txt: messages, and what a reader has to make of each.

A second implementation of the message format, on the `cryptography` package alone, and the AWS Encryption SDK for
Python where the message is one that it can make. Random throughout, so every run writes other bytes.
"""

import hashlib
import hmac
import os
import struct

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Fixtures")
AES_KEY = bytes(range(32))
AES_NAME = "clinic"
RSA_NAME = "escrow"
with open(os.path.join(FIXTURES, "rsa-private.pem"), "rb") as file:
    RSA_PEM = file.read()
RSA_PUBLIC = serialization.load_pem_private_key(RSA_PEM, None).public_key()
CONTEXT = {
    "lifeboat-target": "clinic", "lifeboat-set": "daily/backup-2025-01-15T07-00-00-000Z", "lifeboat-format": "1"}


def block(data):
    return struct.pack(">H", len(data)) + data


def serialise(context):
    if not context:
        return b""
    pairs = sorted((k.encode(), v.encode()) for k, v in context.items())
    return struct.pack(">H", len(pairs)) + b"".join(block(k) + block(v) for k, v in pairs)


def wrap_aes(data_key, context_bytes, key=AES_KEY, name=AES_NAME):
    iv = os.urandom(12)
    info = name.encode() + struct.pack(">II", 128, 12) + iv
    return (b"lifeboat", info, AESGCM(key).encrypt(iv, data_key, context_bytes))


def wrap_rsa(data_key, name=RSA_NAME):
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return (b"lifeboat", name.encode(), RSA_PUBLIC.encrypt(data_key, oaep))


class Message:
    """One message under construction; what a test wants wrong is changed between the steps."""

    def __init__(self, context=None, context_bytes=None, wraps=("aes",), frame_length=64, suite=0x0478, kind=2):
        self.data_key = os.urandom(32)
        self.id = os.urandom(32)
        self.frame_length = frame_length
        self.context_bytes = serialise(context or {}) if context_bytes is None else context_bytes
        prk = hmac.new(self.id, self.data_key, hashlib.sha512).digest()
        self.content_key = HKDFExpand(hashes.SHA512(), 32, struct.pack(">H", suite) + b"DERIVEKEY").derive(prk)
        self.commitment = HKDFExpand(hashes.SHA512(), 32, b"COMMITKEY").derive(prk)
        self.keys = []
        for wrap in wraps:
            if wrap == "aes":
                self.keys.append(wrap_aes(self.data_key, self.context_bytes))
            elif wrap == "rsa":
                self.keys.append(wrap_rsa(self.data_key))
            elif wrap == "kms":
                self.keys.append((b"aws-kms", b"arn:aws:kms:eu-west-1:1:key/1", os.urandom(180)))
            else:
                self.keys.append(wrap)
        self.suite = suite
        self.kind = kind
        self.frames = []

    def body(self):
        return (
            b"\x02" + struct.pack(">H", self.suite) + self.id + block(self.context_bytes)
            + struct.pack(">H", len(self.keys)) + b"".join(block(a) + block(b) + block(c) for a, b, c in self.keys)
            + bytes([self.kind]) + struct.pack(">I", self.frame_length) + self.commitment)

    def header(self):
        body = self.body()
        return body + AESGCM(self.content_key).encrypt(bytes(12), b"", body)

    def sealed(self, label, number, plaintext, iv_number=None, id_bytes=32):
        iv = bytes(8) + struct.pack(">I", number if iv_number is None else iv_number)
        data = self.id[:id_bytes] + label + struct.pack(">IQ", number, len(plaintext))
        return iv, AESGCM(self.content_key).encrypt(iv, plaintext, data)

    def regular(self, number, plaintext, **options):
        iv, sealed = self.sealed(b"AWSKMSEncryptionClient Frame", number, plaintext, **options)
        return struct.pack(">I", number) + iv + sealed

    def final(self, number, plaintext, **options):
        iv, sealed = self.sealed(b"AWSKMSEncryptionClient Final Frame", number, plaintext, **options)
        return b"\xff" * 4 + struct.pack(">I", number) + iv + struct.pack(">I", len(plaintext)) + sealed

    def whole(self, plaintext):
        size = self.frame_length
        full = len(plaintext) // size
        frames = [self.regular(n + 1, plaintext[n * size:(n + 1) * size]) for n in range(full)]
        return self.header() + b"".join(frames) + self.final(full + 1, plaintext[full * size:])


class FileKey(RawMasterKeyProvider):
    provider_id = "lifeboat"

    def _get_raw_key(self, key_id):
        if key_id == AES_NAME.encode():
            return WrappingKey(
                WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, AES_KEY, EncryptionKeyType.SYMMETRIC)
        return WrappingKey(WrappingAlgorithm.RSA_OAEP_SHA256_MGF1, RSA_PEM, EncryptionKeyType.PRIVATE)


def by_sdk(plaintext, name, context, algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, frame_length=128):
    keys = FileKey()
    keys.add_master_key(name.encode())
    policy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    if not algorithm.is_committing():
        policy = CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)
    message, _ = client.encrypt(
        source=plaintext, key_provider=keys, encryption_context=context, algorithm=algorithm,
        frame_length=frame_length)
    return message


def hex_lines(data):
    text = data.hex()
    return "".join("\n  " + text[i:i + 112] for i in range(0, len(text), 112))


def write(out, name, expect, message, plaintext=None, data_key=None):
    out.append(f"name: {name}\nexpect: {expect}")
    if plaintext is not None:
        out.append("plaintext:" + hex_lines(plaintext))
    if data_key is not None:
        out.append("data-key:" + hex_lines(data_key))
    out.append("message:" + hex_lines(message) + "\n")


def good(out):
    text = os.urandom(300)
    for length in (0, 1, 127, 128, 129, 256, 300):
        write(out, f"SDK, AES, {length} bytes", "opens", by_sdk(text[:length], AES_NAME, CONTEXT), text[:length])
    write(out, "SDK, RSA, 300 bytes", "opens", by_sdk(text, RSA_NAME, CONTEXT), text)
    write(out, "SDK, AES, no context", "opens", by_sdk(text, AES_NAME, {}), text)
    order = {"zebra": "1", "Zebra": "2", "\u00e4rzte": "3", "\uffee": "4", "\U0001f691": "5", "": "6"}
    write(out, "SDK, AES, context sorted by bytes", "opens", by_sdk(text, AES_NAME, order), text)
    message = Message(CONTEXT, wraps=("kms", "rsa", "aes"))
    write(out, "several recipients", "opens", message.whole(text), text, message.data_key)
    message = Message(CONTEXT)
    write(out, "exact multiple, empty final frame", "opens", message.whole(text[:128]), text[:128], message.data_key)
    message = Message(CONTEXT)
    full = message.header() + message.regular(1, text[:64]) + message.final(2, text[64:128])
    write(out, "full final frame", "opens", full, text[:128])
    message = Message(frame_length=1)
    write(out, "frames of one byte", "opens", message.whole(text[:5]), text[:5], message.data_key)


def bad_headers(out):
    text = os.urandom(150)
    signed = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
    write(out, "signed suite", "unsupported", by_sdk(text, AES_NAME, CONTEXT, signed))
    old = Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA256
    write(out, "version 1", "unsupported", by_sdk(text, AES_NAME, CONTEXT, old))
    write(out, "unknown suite", "unsupported", Message(suite=0x0678).whole(text))
    write(out, "body without frames", "unsupported", Message(kind=1).whole(text))
    write(out, "unknown content type", "malformedHeader", Message(kind=3).whole(text))
    write(out, "frames of 2^31 bytes", "unsupported", Message(frame_length=1 << 31).header())
    message = Message()
    message.frame_length = 0
    write(out, "frames of no bytes", "malformedHeader", message.header())
    write(out, "no recipient", "malformedHeader", Message(wraps=()).header())
    write(out, "a signature's key without a signature", "malformedHeader",
          Message({"aws-crypto-public-key": "AAAA"}).whole(text))
    twice = struct.pack(">H", 2) + (block(b"a") + block(b"1")) * 2
    write(out, "a context key twice", "malformedHeader", Message(context_bytes=twice).whole(text))
    write(out, "a context longer than its pairs", "malformedHeader",
          Message(context_bytes=serialise(CONTEXT) + b"x").whole(text))
    write(out, "a context shorter than its pairs", "malformedHeader",
          Message(context_bytes=serialise(CONTEXT)[:-1]).whole(text))
    write(out, "a context of no pairs", "malformedHeader", Message(context_bytes=b"\0\0").whole(text))
    write(out, "a context that is not text", "malformedHeader",
          Message(context_bytes=struct.pack(">H", 1) + block(b"\xff") + block(b"1")).whole(text))
    message = Message(CONTEXT)
    message.commitment = os.urandom(32)
    write(out, "commitment to another key", "wrongDataKey", message.whole(text))
    message = Message(CONTEXT)
    whole = bytearray(message.whole(text))
    whole[len(message.body()) - 33] ^= 1
    write(out, "frame length changed", "headerAltered", bytes(whole))
    message = Message(CONTEXT)
    other = Message(CONTEXT)
    write(out, "recipients of another message", "wrongDataKey",
          message.whole(text).replace(message.keys[0][1], other.keys[0][1]).replace(
              message.keys[0][2], other.keys[0][2]))
    message = Message(CONTEXT)
    tag = message.header()[-16:]
    message.keys.append(wrap_rsa(message.data_key, "later"))
    write(out, "a recipient added afterwards", "headerAltered", message.body() + tag)
    write(out, "another key of the same name", "noKeyOpens",
          Message(CONTEXT, wraps=(wrap_aes(os.urandom(32), serialise(CONTEXT), os.urandom(32)),)).whole(text))
    write(out, "wrapped under another context", "noKeyOpens",
          Message(CONTEXT, wraps=(wrap_aes(os.urandom(32), b""),)).whole(text))
    write(out, "for strangers only", "noKeyOpens",
          Message(CONTEXT, wraps=("kms", wrap_aes(os.urandom(32), serialise(CONTEXT), name="clinic-2"))).whole(text))


def bad_bodies(out):
    text = os.urandom(192)
    a, b, c = text[:64], text[64:128], text[128:150]
    m = Message(CONTEXT)
    head, one, two, end = m.header(), m.regular(1, a), m.regular(2, b), m.final(3, c)
    write(out, "whole", "opens", head + one + two + end, a + b + c)
    write(out, "frames swapped", "order", head + two + one + end)
    write(out, "a frame left out", "order", head + two + end)
    write(out, "a frame twice", "order", head + one + one + two + end)
    write(out, "frame number 0", "order", head + m.regular(0, a) + m.final(1, c))
    write(out, "final frame with another number", "order", head + one + two + m.final(4, c))
    write(out, "IV of another frame", "order", head + m.regular(1, a, iv_number=7) + m.final(2, c))
    write(out, "final IV of another frame", "order", head + one + m.final(2, c, iv_number=9))
    write(out, "two final frames", "trailingBytes", head + m.final(1, c) + m.final(2, c))
    write(out, "one byte after the end", "trailingBytes", head + one + two + end + b"\0")
    write(out, "a message after the end", "trailingBytes", head + one + two + end + m.whole(a))
    write(out, "nothing after the header", "truncated", head)
    write(out, "no final frame", "truncated", head + one + two)
    write(out, "half a frame", "truncated", head + one + two[:40])
    write(out, "half a final frame", "truncated", head + one + two + end[:-1])
    write(out, "final frame longer than a frame", "length", head + m.final(1, text[:65]))
    write(out, "message id cut to 16 bytes in the frame's data", "tag", head + m.regular(1, a, id_bytes=16) + end)
    write(out, "regular frame sealed as a final one", "tag",
          head + struct.pack(">I", 1) + b"".join(m.sealed(b"AWSKMSEncryptionClient Final Frame", 1, a)) + end)
    write(out, "final frame with its length cut", "tag",
          head + m.final(1, c)[:20] + struct.pack(">I", len(c) - 1) + m.final(1, c)[24:])
    write(out, "a frame of another message", "tag", head + Message(CONTEXT).regular(1, a) + two + end)


def main():
    out = [
        "# Messages, and what a reader has to make of each. Written by Python/vectors.py: see README.md.",
        "# Identities: AES key 000102...1f named clinic; rsa-private.pem named escrow.",
        ""]
    good(out)
    bad_headers(out)
    bad_bodies(out)
    with open(os.path.join(FIXTURES, "vectors.txt"), "w", encoding="ascii") as file:
        file.write("\n".join(out))


main()
