#!/usr/bin/env python3
"""Checks an exported evidence log with nothing but Python: written from the C2SP texts (tlog-tiles, tlog-checkpoint,
signed-note) and RFC 6962 and RFC 8032, sharing no code with the system that wrote the log.

    verify-evidence.py DIR [--key 'NAME+HASH+BASE64']

Without --key the key in the export is used: changes are found, a log forged as a whole is not. Exit status 0: sound.
"""

import base64
import hashlib
import json
import os
import sys

WIDTH = 256


class Wrong(Exception):
    """The first thing that is wrong, as a sentence."""


# Ed25519 verification, RFC 8032 section 5.1.7. Slow and only ever used on public data.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def point_add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def decompress(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def ed25519_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = point_multiply(s, BASE), point_add(r, point_multiply(h, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# RFC 6962 section 2.1.


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def root_of(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\1" + root_of(hashes[:split]) + root_of(hashes[split:])).digest()


# Signed notes and checkpoints.


def decode(text, what):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{what} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"{what} is not written in the one form of base64")
    return data


def parse_key(line):
    parts = line.split("+", 2)
    if len(parts) != 3:
        raise Wrong("the key is not name+hash+base64")
    name, key_hash, data = parts[0], parts[1], decode(parts[2], "the key")
    if len(data) != 33 or data[0] != 1:
        raise Wrong("the key is not an Ed25519 key")
    key_id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if key_id.hex() != key_hash:
        raise Wrong("the key's hash does not fit its name and bytes")
    return name, key_id, data[1:]


def open_checkpoint(data, key):
    name, key_id, public = key
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise Wrong("checkpoint is not UTF-8") from None
    if any(ord(char) < 32 and char != "\n" for char in note) or not note.endswith("\n") or "\n\n" not in note:
        raise Wrong("checkpoint is no signed note")
    text, lines = note.rsplit("\n\n", 1)
    text += "\n"
    signed = False
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise Wrong("checkpoint has a line that is no signature")
        signature = decode(parts[2], "a signature of the checkpoint")
        if parts[1] == name and signature[:4] == key_id:
            if not ed25519_verify(public, text.encode(), signature[4:]):
                raise Wrong("checkpoint: the signature does not fit the text")
            signed = True
    if not signed:
        raise Wrong(f"checkpoint is not signed by {name}")
    body = text[:-1].split("\n")
    if len(body) < 3 or body[0] != name or not body[1].isdigit() or str(int(body[1])) != body[1]:
        raise Wrong("checkpoint is not one of this log")
    return int(body[1]), decode(body[2], "the root in the checkpoint")


# Tiles.


def tile_name(index, width):
    elements = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        elements.append(f"x{index % 1000:03}")
    return "/".join(reversed(elements)) + (f".p/{width}" if width < WIDTH else "")


def row(total):
    for first in range(0, total, WIDTH):
        width = min(WIDTH, total - first)
        yield first, width, tile_name(first // WIDTH, width)


def read(folder, name):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise Wrong(f"cannot read {name}: {error.strerror}") from None


def verify(folder, pinned):
    line = read(folder, "key").decode("utf-8", "replace")
    if not line.endswith("\n") or (pinned is not None and line != pinned + "\n"):
        raise Wrong("the file key is not the key that is trusted")
    line = line[:-1]
    size, root = open_checkpoint(read(folder, "checkpoint"), parse_key(line))

    level, entries = [], 0
    for first, width, name in row(size):
        tile = read(folder, f"tile/0/{name}")
        if len(tile) != 32 * width:
            raise Wrong(f"tile/0/{name} has {len(tile)} bytes instead of {32 * width}")
        bundle, at = read(folder, f"tile/entries/{name}"), 0
        for index in range(first, first + width):
            length = int.from_bytes(bundle[at : at + 2], "big")
            entry = bundle[at + 2 : at + 2 + length]
            at += 2 + length
            place = index - first
            if at > len(bundle) or leaf_hash(entry) != tile[32 * place : 32 * place + 32]:
                raise Wrong(f"entry {index} in tile/entries/{name} and its hash in tile/0/{name} do not fit")
            level.append(leaf_hash(entry))
            check_record(index, entry, line)
            entries += 1
        if at != len(bundle):
            raise Wrong(f"tile/entries/{name} is too long")
    if root_of(level) != root:
        raise Wrong("the entries do not have the root that the checkpoint was signed over")
    height = 0
    while len(level) >= WIDTH:
        level = [root_of(level[at : at + WIDTH]) for at in range(0, len(level) - WIDTH + 1, WIDTH)]
        height += 1
        for first, width, name in row(len(level)):
            if read(folder, f"tile/{height}/{name}") != b"".join(level[first : first + width]):
                raise Wrong(f"tile/{height}/{name} does not fit the tiles below it")
    return entries


def check_record(index, entry, key_line):
    try:
        record = json.loads(entry)
        says, payload = record["index"], record["payload"]
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"entry {index} is no record") from None
    if says != index:
        raise Wrong(f"entry {index} says that it is entry {says}")
    if index == 0 and payload.get("key") != key_line:
        raise Wrong("entry 0 does not name the key that signs the log")


def main(arguments):
    pinned = None
    if len(arguments) == 3 and arguments[1] == "--key":
        pinned = arguments[2]
    elif len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        entries = verify(arguments[0], pinned)
    except Wrong as wrong:
        print(f"not sound: {wrong}", file=sys.stderr)
        return 1
    print(f"sound: {entries} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
