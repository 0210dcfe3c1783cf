#!/usr/bin/env python3
"""Verifies an export of an evidence log, sharing no code with AIOS: only the published formats and Python's own library.

usage: verify-evidence.py EXPORT        a folder, or a bundle in one file
Checks the checkpoint's signature (C2SP signed-note, Ed25519), every entry and every hash tile (C2SP tlog-tiles), and the
root. The key is the export's own: changes are found, a log forged as a whole needs a key known from elsewhere.
"""

import base64
import hashlib
import json
import pathlib
import sys

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


class Wrong(Exception):
    """What does not hold, in words."""


def recover_x(y, sign):
    if y >= P:
        raise Wrong("a point is not reduced")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        raise Wrong("a point is not on the curve")
    return P - x if x & 1 != sign else x


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover_x(y, sign)
    return (x, y, 1, x * y % P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(scalar, p):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, p)
        p, scalar = add(p, p), scalar >> 1
    return result


def ed25519_verifies(key, message, signature):
    base_y = 4 * pow(5, P - 2, P) % P
    base_x = recover_x(base_y, 0)
    base = (base_x, base_y, 1, base_x * base_y % P)
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left, right = times(s, base), add(point(signature[:32]), times(h, point(key)))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


def read_export(path):
    """A function from a C2SP name to bytes."""
    if path.is_dir():
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    else:
        files = {}
        for line in path.read_text().splitlines():
            file = json.loads(line)
            files[file["path"]] = base64.b64decode(file["base64"], validate=True)

    def read(name):
        if name not in files:
            raise Wrong(f"{name} is not in the export")
        return files[name]

    return read


def open_checkpoint(note, key_line):
    name, key_id, encoded = key_line.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if raw[:1] != b"\x01" or len(raw) != 33:
        raise Wrong("the key is not an Ed25519 key")
    identity = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if identity.hex() != key_id:
        raise Wrong("the key's name and its id do not belong together")
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4] == identity:
            if not ed25519_verifies(raw[1:], text.encode(), signature[4:]):
                raise Wrong("the checkpoint's signature does not fit")
            break
    else:
        raise Wrong(f"{name} did not sign the checkpoint")
    origin, size, root = text.splitlines()[:3]
    if origin != name:
        raise Wrong(f"it is the head of {origin}, not of {name}")
    return origin, int(size), base64.b64decode(root, validate=True)


def tile_name(level, index, width):
    elements = [f"{index % 1000:03}"]
    index //= 1000
    while index:
        elements.insert(0, f"x{index % 1000:03}")
        index //= 1000
    return f"tile/{level}/" + "/".join(elements) + (f".p/{width}" if width < 256 else "")


def tiles(count):
    """Index and width of each tile of a row with this many hashes."""
    return [(at, min(256, count - at * 256)) for at in range((count + 255) // 256)]


def read_entries(read, size):
    hashes, records = [], []
    for index, width in tiles(size):
        name = tile_name("entries", index, width)
        data, at = read(name), 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if len(entry) != length:
                raise Wrong(f"{name} ends in the middle of an entry")
            at += 2 + length
            hashes.append(hashlib.sha256(b"\0" + entry).digest())
            records.append(entry)
        if at != len(data):
            raise Wrong(f"{name} has bytes after its last entry")
    return hashes, records


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    """RFC 6962: the left part of a tree is the largest power of two that leaves something for the right."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node(root_of(hashes[:split]), root_of(hashes[split:]))


def check_tiles(read, hashes):
    level = 0
    while hashes:
        for index, width in tiles(len(hashes)):
            name = tile_name(level, index, width)
            if read(name) != b"".join(hashes[index * 256 : index * 256 + width]):
                raise Wrong(f"{name} has a hash that its entries do not give")
        hashes = [root_of(hashes[at : at + 256]) for at in range(0, len(hashes) // 256 * 256, 256)]
        level += 1


def verify(path):
    read = read_export(path)
    origin, size, root = open_checkpoint(read("checkpoint").decode(), read("key").decode())
    hashes, entries = read_entries(read, size)
    if root_of(hashes) != root:
        raise Wrong("the entries do not have the root that was signed")
    check_tiles(read, hashes)
    for index, entry in enumerate(entries):
        if json.loads(entry)["index"] != index:
            raise Wrong(f"entry {index} says that it is another one")
    return f"verified: {size} records of {origin}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(verify(pathlib.Path(sys.argv[1])))
    except (Wrong, OSError, ValueError, KeyError) as error:
        sys.exit(f"{sys.argv[1]} does not hold: {error}")


if __name__ == "__main__":
    main()
