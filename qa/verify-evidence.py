#!/usr/bin/env python3
"""Checks an exported evidence log with nothing but Python: written from the C2SP texts (tlog-tiles, tlog-checkpoint,
signed-note, tlog-cosignature), RFC 6962, RFC 8032 and FIPS 204, sharing no code with the system that wrote the log.

    verify-evidence.py DIR|FILE [--key 'NAME+HASH+BASE64'] [--older OLDDIR]

FILE is an export in one file, as the action evidence.export makes it. Without --key the keys in the export are used: changes
are found, a log forged as a whole is not. --key is the Ed25519 line of the file `key`. --older names an earlier export of the
same log, which this one must continue. Exit status 0: sound.
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


# ML-DSA-44 verification, FIPS 204 algorithms 3 and 8 with what they need.

Q = 8380417
GAMMA1, GAMMA2, DROPPED, TAU, OMEGA = 1 << 17, (Q - 1) // 88, 13, 39, 80
ROWS = COLUMNS = 4
BETA = TAU * 2
PUBLIC_SIZE, SIGNATURE_SIZE = 32 + ROWS * 320, 32 + COLUMNS * 576 + OMEGA + ROWS
ZETAS = [pow(1753, int(f"{index:08b}"[::-1], 2), Q) for index in range(256)]


def ntt(polynomial):
    w, m, length = list(polynomial), 0, 128
    while length >= 1:
        for start in range(0, 256, 2 * length):
            m += 1
            for j in range(start, start + length):
                t = ZETAS[m] * w[j + length] % Q
                w[j + length] = (w[j] - t) % Q
                w[j] = (w[j] + t) % Q
        length //= 2
    return w


def inverse_ntt(polynomial):
    w, m, length = list(polynomial), 256, 1
    while length < 256:
        for start in range(0, 256, 2 * length):
            m -= 1
            for j in range(start, start + length):
                t = w[j]
                w[j] = (t + w[j + length]) % Q
                w[j + length] = -ZETAS[m] * (t - w[j + length]) % Q
        length *= 2
    return [8347681 * value % Q for value in w]


def bits(data, width):
    number = int.from_bytes(data, "little")
    return [number >> at & (1 << width) - 1 for at in range(0, 8 * len(data), width)]


def sampled_polynomial(seed):
    # 5 kB is more than five times what is needed; the standard squeezes for as long as it takes.
    stream, found = hashlib.shake_128(seed).digest(5 * 1024), []
    for at in range(0, len(stream) - 2, 3):
        value = stream[at] | stream[at + 1] << 8 | (stream[at + 2] & 127) << 16
        if value < Q:
            found.append(value)
            if len(found) == 256:
                return found
    raise Wrong("the ML-DSA key gives no matrix")


def sample_in_ball(seed):
    stream = hashlib.shake_256(seed).digest(8 + 8 * 136)
    signs, at, ball = int.from_bytes(stream[:8], "little"), 8, [0] * 256
    for index in range(256 - TAU, 256):
        while stream[at] > index:
            at += 1
        place = stream[at]
        at += 1
        ball[index] = ball[place]
        ball[place] = -1 if signs >> (index + TAU - 256) & 1 else 1
    return ball


def unpack_hints(data):
    hints, at = [[0] * 256 for _ in range(ROWS)], 0
    for row_number in range(ROWS):
        end = data[OMEGA + row_number]
        if end < at or end > OMEGA:
            return None
        if any(data[place] >= data[place + 1] for place in range(at, end - 1)):
            return None
        for place in range(at, end):
            hints[row_number][data[place]] = 1
        at = end
    return None if any(data[at:OMEGA]) else hints


def use_hint(hint, value):
    low = value % (2 * GAMMA2)
    if low > GAMMA2:
        low -= 2 * GAMMA2
    if value - low == Q - 1:
        high, low = 0, low - 1
    else:
        high = (value - low) // (2 * GAMMA2)
    if hint:
        high = (high + 1 if low > 0 else high - 1) % 44
    return high


def ml_dsa_44_verify(public, message, signature):
    if len(public) != PUBLIC_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    hints = unpack_hints(signature[32 + COLUMNS * 576 :])
    if hints is None:
        return False
    rho, challenge = public[:32], signature[:32]
    z = [[GAMMA1 - value for value in bits(signature[at : at + 576], 18)] for at in range(32, 32 + COLUMNS * 576, 576)]
    if any(abs(value) >= GAMMA1 - BETA for polynomial in z for value in polynomial):
        return False
    z = [ntt(polynomial) for polynomial in z]
    c = ntt(sample_in_ball(challenge))
    digest = hashlib.shake_256(public).digest(64)
    mu = hashlib.shake_256(digest + b"\0\0" + message).digest(64)
    packed = b""
    for r in range(ROWS):
        t1 = ntt([value << DROPPED for value in bits(public[32 + 320 * r : 352 + 320 * r], 10)])
        total = [-c[i] * t1[i] for i in range(256)]
        for s in range(COLUMNS):
            a = sampled_polynomial(rho + bytes([s, r]))
            total = [total[i] + a[i] * z[s][i] for i in range(256)]
        w = inverse_ntt([value % Q for value in total])
        number = sum(use_hint(hints[r][i], w[i]) << 6 * i for i in range(256))
        packed += number.to_bytes(192, "little")
    return hashlib.shake_256(mu + packed).digest(32) == challenge


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


ED25519, ML_DSA_44 = 1, 6
KEY_SIZES = {ED25519: 32, ML_DSA_44: PUBLIC_SIZE}


def parse_key(line, kind):
    parts = line.split("+", 2)
    if len(parts) != 3:
        raise Wrong("a key is not name+hash+base64")
    name, key_hash, data = parts[0], parts[1], decode(parts[2], "a key")
    if len(data) != 1 + KEY_SIZES[kind] or data[0] != kind:
        raise Wrong("a key is not of its kind: Ed25519 first, then ML-DSA-44")
    key_id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if key_id.hex() != key_hash:
        raise Wrong("a key's hash does not fit its name and bytes")
    return name, key_id, data[1:]


def parse_keys(data):
    lines = data.decode("utf-8", "replace").split("\n")
    if len(lines) != 3 or lines[2] != "":
        raise Wrong("the file key has not two lines")
    keys = parse_key(lines[0], ED25519), parse_key(lines[1], ML_DSA_44)
    if keys[0][0] != keys[1][0]:
        raise Wrong("the two keys have different names")
    return lines[:2], keys


def cosigned(name, size, root):
    """What the second line signs: tlog-cosignature's message for the whole tree, at no particular time."""
    label = bytes([len(name.encode())]) + name.encode()
    time = start = (0).to_bytes(8, "big")
    return b"subtree/v1\n\0" + label + time + label + start + size.to_bytes(8, "big") + root


def open_checkpoint(data, keys):
    (name, first_id, ed25519), (_, second_id, ml_dsa) = keys
    try:
        note = data.decode()
    except UnicodeDecodeError:
        raise Wrong("checkpoint is not UTF-8") from None
    if any(ord(char) < 32 and char != "\n" for char in note) or not note.endswith("\n") or "\n\n" not in note:
        raise Wrong("checkpoint is no signed note")
    text, lines = note.rsplit("\n\n", 1)
    text += "\n"
    body = text[:-1].split("\n")
    if len(body) < 3 or body[0] != name or not body[1].isdigit() or str(int(body[1])) != body[1]:
        raise Wrong("checkpoint is not one of this log")
    size, root = int(body[1]), decode(body[2], "the root in the checkpoint")
    if len(root) != 32 or size >= 1 << 53:
        raise Wrong("checkpoint is not one of a log of this world")
    found = set()
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":
            raise Wrong("checkpoint has a line that is no signature")
        signature = decode(parts[2], "a signature of the checkpoint")
        if parts[1] != name:
            continue
        if signature[:4] == first_id:
            if not ed25519_verify(ed25519, text.encode(), signature[4:]):
                raise Wrong("checkpoint: the Ed25519 signature does not fit the text")
            found.add(ED25519)
        elif signature[:4] == second_id:
            if signature[4:12] != bytes(8):
                raise Wrong("checkpoint: the ML-DSA-44 signature is of a time")
            if not ml_dsa_44_verify(ml_dsa, cosigned(name, size, root), signature[12:]):
                raise Wrong("checkpoint: the ML-DSA-44 signature does not fit the head")
            found.add(ML_DSA_44)
    for kind, word in (ED25519, "Ed25519"), (ML_DSA_44, "ML-DSA-44"):
        if kind not in found:
            raise Wrong(f"checkpoint has no {word} signature of {name}")
    return size, root


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


def unpacked(path):
    """The files of an export that is one file: a line each, {"path":…,"base64":…}."""
    files = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                file = json.loads(line)
                name, content = file["path"], base64.b64decode(file["base64"], validate=True)
            except (ValueError, KeyError, TypeError):
                raise Wrong(f"line {number} is no file of an export") from None
            if name in files:
                raise Wrong(f"line {number} has a file that an earlier line has")
            files[name] = content
    return files


BUNDLES = {}


def read(folder, name):
    if os.path.isfile(folder):
        if folder not in BUNDLES:
            BUNDLES[folder] = unpacked(folder)
        if name not in BUNDLES[folder]:
            raise Wrong(f"cannot read {name}: not in the bundle")
        return BUNDLES[folder][name]
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as error:
        raise Wrong(f"cannot read {name}: {error.strerror}") from None


def verify(folder, pinned, older):
    lines, keys = parse_keys(read(folder, "key"))
    if pinned is not None and lines[0] != pinned:
        raise Wrong("the first line of the file key is not the key that is trusted")
    size, root = open_checkpoint(read(folder, "checkpoint"), keys)
    if older is not None:
        if parse_keys(read(older, "key"))[0] != lines:
            raise Wrong("the older export is of another log")
        old_size, old_root = open_checkpoint(read(older, "checkpoint"), keys)
        if old_size > size:
            raise Wrong(f"this is the older one: it has {size} entries and the other {old_size}")

    level, entries, gone, may_go = [], 0, [], []
    for first, width, name in row(size):
        tile = read(folder, f"tile/0/{name}")
        if len(tile) != 32 * width:
            raise Wrong(f"tile/0/{name} has {len(tile)} bytes instead of {32 * width}")
        bundle, at = read(folder, f"tile/entries/{name}"), 0
        for index in range(first, first + width):
            length = int.from_bytes(bundle[at : at + 2], "big")
            entry = bundle[at + 2 : at + 2 + length]
            at += 2 + length
            hashed = tile[32 * (index - first) : 32 * (index - first) + 32]
            level.append(hashed)
            if at <= len(bundle) and entry == b"":
                gone.append(index)
                continue
            if at > len(bundle) or leaf_hash(entry) != hashed:
                raise Wrong(f"entry {index} in tile/entries/{name} and its hash in tile/0/{name} do not fit")
            may_go += check_record(index, entry, lines)
            entries += 1
        if at != len(bundle):
            raise Wrong(f"tile/entries/{name} is too long")
    if root_of(level) != root:
        raise Wrong("the entries do not have the root that the checkpoint was signed over")
    if older is not None and root_of(level[:old_size]) != old_root:
        raise Wrong(f"this log does not continue the older one: the first {old_size} entries are others")
    for index in gone:
        if not any(begin <= index <= end for begin, end in may_go):
            raise Wrong(f"the bytes of entry {index} are gone, and no record says that its time was over")
    height = 0
    while len(level) >= WIDTH:
        level = [root_of(level[at : at + WIDTH]) for at in range(0, len(level) - WIDTH + 1, WIDTH)]
        height += 1
        for first, width, name in row(len(level)):
            if read(folder, f"tile/{height}/{name}") != b"".join(level[first : first + width]):
                raise Wrong(f"tile/{height}/{name} does not fit the tiles below it")
    return entries


def check_record(index, entry, lines):
    """Looks at a record; gives the ranges of entries that it says may be gone."""
    try:
        record = json.loads(entry)
        says, payload = record["index"], record["payload"]
        if not isinstance(payload, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise Wrong(f"entry {index} is no record") from None
    if says != index:
        raise Wrong(f"entry {index} says that it is entry {says}")
    if index == 0 and [payload.get("key"), payload.get("key_ml_dsa")] != lines:
        raise Wrong("entry 0 does not name the keys that sign the log")
    if record.get("kind") != "pruned":
        return []
    try:
        return [(begin, end) for begin, end in payload["ranges"]]
    except (KeyError, TypeError, ValueError):
        raise Wrong(f"entry {index} does not say which entries it is about") from None


def main(arguments):
    options = {"--key": None, "--older": None}
    rest = arguments[1:]
    while len(rest) >= 2 and options.get(rest[0], "") is None:
        options[rest[0]], rest = rest[1], rest[2:]
    if not arguments or arguments[0].startswith("-") or rest:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        entries = verify(arguments[0], options["--key"], options["--older"])
    except Wrong as wrong:
        print(f"not sound: {wrong}", file=sys.stderr)
        return 1
    print(f"sound: {entries} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
