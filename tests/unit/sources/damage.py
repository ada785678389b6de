"""Random damage to files: of their bytes, of the words of a text, and of what an HDF5 file says about itself."""

import re
from pathlib import Path

import h5py
import numpy as np

_LENGTHS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_WORDS = (b"nan", b"inf", b"-inf", b"1e400", b"-9999", b"", b"999999999999999999999", b"2020-13-45", b"\xff\xfe", b'"')


def damaged(clean: bytes, rng: np.random.Generator) -> bytes:
    """One damage or a few: bytes and bits changed, lengths made absurd, blocks zeroed, repeated, exchanged or cut."""
    data = bytearray(clean)
    for _ in range((1, 1, 1, 2, 4)[int(rng.integers(5))]):
        _HOW[int(rng.integers(len(_HOW)))](data, rng)
    return bytes(data) or b"\0"


def _place(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(max(len(data), 1))), int(rng.integers(1, 64))


def _change(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(max(len(data), 1), size=int(rng.integers(1, 9))):
        data[place : place + 1] = bytes([int(rng.integers(256))])


def _flip(data: bytearray, rng: np.random.Generator) -> None:
    place, _ = _place(data, rng)
    if data:
        data[place] ^= 1 << int(rng.integers(8))


def _length(data: bytearray, rng: np.random.Generator) -> None:
    """A number of one, two or four bytes, in either order: mostly where headers are."""
    size, order = (1, 2, 4)[int(rng.integers(3))], ("big", "little")[int(rng.integers(2))]
    within = len(data) if rng.random() < 0.5 else min(len(data), 512)
    place = int(rng.integers(max(within // size, 1))) * size
    value = _LENGTHS[int(rng.integers(len(_LENGTHS)))] % (1 << 8 * size)
    data[place : place + size] = value.to_bytes(size, "big" if order == "big" else "little")


def _zero(data: bytearray, rng: np.random.Generator) -> None:
    start, length = _place(data, rng)
    data[start : start + length] = bytes(min(length, len(data) - start))


def _repeat(data: bytearray, rng: np.random.Generator) -> None:
    start, length = _place(data, rng)
    data[start:start] = data[start : start + length]


def _exchange(data: bytearray, rng: np.random.Generator) -> None:
    (one, length), (two, _) = _place(data, rng), _place(data, rng)
    one, two = min(one, two), max(one, two)
    length = min(length, two - one, len(data) - two)
    data[one : one + length], data[two : two + length] = data[two : two + length], data[one : one + length]


def _cut_out(data: bytearray, rng: np.random.Generator) -> None:
    start, length = _place(data, rng)
    del data[start : start + length]


def _cut_off(data: bytearray, rng: np.random.Generator) -> None:
    del data[_place(data, rng)[0] :]


def _word(data: bytearray, rng: np.random.Generator) -> None:
    """In a text another word for one of it; in other files what looks like one."""
    words = list(re.finditer(rb"[A-Za-z0-9.+:-]+", bytes(data[:65536])))
    if words:
        start, end = words[int(rng.integers(len(words)))].span()
        data[start:end] = _WORDS[int(rng.integers(len(_WORDS)))]


_HOW = (_change, _change, _flip, _flip, _length, _length, _zero, _repeat, _exchange, _cut_out, _cut_off, _word, _word)


# --- HDF5 ------------------------------------------------------------------------------------------------------------


def restructured(path: Path, rng: np.random.Generator) -> None:
    """An HDF5 file that is whole and says absurd things: attributes, shapes and types that nobody would write."""
    with h5py.File(path, "r+") as file:
        for _ in range(int(rng.integers(1, 4))):
            names: list[str] = []
            file.visit(names.append)
            item = file[names[int(rng.integers(len(names)))]] if names else file
            if item.attrs and rng.random() < 0.6:
                _attribute(item, rng)
            elif isinstance(item, h5py.Dataset):
                _dataset(file, item.name, rng)
            elif item.name != "/" and rng.random() < 0.5:
                del file[item.name]


def _attribute(item: h5py.HLObject, rng: np.random.Generator) -> None:
    name = sorted(item.attrs)[int(rng.integers(len(item.attrs)))]
    values = (np.nan, np.inf, -1e300, 0.0, -1, 2**62, b"\xff\xfe", "absurd", "", np.zeros(0), np.full(3, np.nan), None)
    value = values[int(rng.integers(len(values)))]
    try:
        if value is None:
            del item.attrs[name]
        else:
            item.attrs[name] = value
    except (OSError, RuntimeError, TypeError):  # attributes that hold references of NetCDF-4 stay as they are
        return


def _dataset(file: h5py.File, name: str, rng: np.random.Generator) -> None:
    """Another shape or type, or NaN and the largest numbers within; dimension scales go with the old one."""
    old, how = file[name], int(rng.integers(7))
    if old.size > _LARGE:
        return
    shape, kind, about = old.shape, old.dtype, {k: v for k, v in old.attrs.items() if k not in _REFERENCES}
    if how == 0 and kind.kind in "fiu" and old.size and shape:
        old[np.unravel_index(int(rng.integers(old.size)), shape)] = np.nan if kind.kind == "f" else np.iinfo(kind).max
        return
    if how == 1 and kind.kind == "f":
        old[...] = (np.nan, np.inf, 1e30)[int(rng.integers(3))]
        return
    del file[name]
    if how == 2:
        return
    if how == 3:
        new = file.create_dataset(name, shape=(0,) * max(len(shape), 1), dtype=kind)
    elif how == 4:  # of 2^40 numbers nothing is on the disk
        new = file.create_dataset(name, shape=(2**20,) * 2, dtype=kind if kind.kind in "fiu" else "f4", chunks=(64, 64))
    elif how == 5:
        new = file.create_dataset(name, data=np.full(shape, b"x"))
    else:
        new = file.create_dataset(name, data=np.zeros((*shape, 2)))
    for key, value in about.items():
        new.attrs[key] = value


_LARGE = 1 << 20
_REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "_Netcdf4Dimid", "_Netcdf4Coordinates")
