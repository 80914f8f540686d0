"""Checkpoints that survive a kill: written beside, flushed to the disk, then renamed.

A run on a free Colab session ends when the session does. At every moment the file
is either the previous complete checkpoint or the new complete one.
"""

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which replaces ``path`` once it is complete on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".tmp")
    with open(aside, "wb") as file:
        yield file
        file.flush()
        # Without it the new name could reach the disk before the data.
        os.fsync(file.fileno())
    os.replace(aside, path)


class Checkpoint:
    """A file with one dictionary of tensors and plain Python values.

    Args:
        path: the file; its folder is made if it does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"

    def save(self, **state: Any) -> None:
        """Replace the checkpoint by ``state``, all of it or nothing.

        NumPy's numbers are written as Python's.
        """
        with replacing(self.path) as file:
            torch.save(_plain(state), file)

    def load(self) -> dict[str, Any] | None:
        """The saved dictionary, its tensors on the CPU; None if there is no file.

        Only tensors and plain values are read (``weights_only``), so that a stranger's
        checkpoint cannot run code.

        Raises:
            ValueError: the file is damaged, cut short or no checkpoint, or it holds
                other objects.
        """
        if not self.path.exists():
            return None
        try:
            # torch.load does not compare checksums; a flipped bit would go unnoticed.
            with zipfile.ZipFile(self.path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise zipfile.BadZipFile(f"wrong checksum in {damaged}")
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # not damaged: the checksums are right
            raise ValueError(
                f"the checkpoint {self.path} is not a checkpoint of this package: it "
                f"holds more than tensors and plain values ({error})"
            ) from error
        except (zipfile.BadZipFile, RuntimeError) as error:
            raise ValueError(
                f"the checkpoint {self.path} is damaged or not a checkpoint of this "
                f"package ({error}). Delete it to start the run again, or put a good "
                "copy in its place."
            ) from error


def _plain(value: Any) -> Any:
    """The value, with NumPy's numbers in its lists and dictionaries as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {key: _plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value
