"""A pruned network in a small file: the non-zero weights and where they are.

The format is safetensors, from which no code runs when a stranger's file is opened. A
kernel is stored as two tensors: ``NAME/positions``, int32 positions of the non-zeros
in the kernel read row by row, and ``NAME/values``. In float32 that is 8 bytes for each
non-zero weight, so a kernel of which more than half remains is stored whole under
``NAME``, as are biases, normalisation parameters and buffers. LeNet-5 at 300x takes
about 15 kB instead of 1.7 MB.
"""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ece661_sparse.training.checkpoint import replacing

FORMAT = "ece661-sparse-1"
POSITION = torch.int32

Model = TypeVar("Model", bound=nn.Module)


def save_sparse(model: nn.Module, path: str | Path) -> None:
    """Write the parameters and buffers of ``model``, without the zeros of kernels.

    The same weights give the same bytes. A zero comes back as +0, whatever its sign.

    Raises:
        ValueError: an entry of the model's state dict is not a tensor: a layer's
            ``get_extra_state`` may return anything.
    """
    with replacing(Path(path)) as file:
        file.write(sparse_bytes(model))


def sparse_bytes(model: nn.Module) -> bytes:
    """What :func:`save_sparse` writes."""
    shapes: dict[str, list[int]] = {}
    stored: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"state_dict of {type(model).__name__} must hold tensors only, "
                f"{name} is of type {type(tensor).__name__}"
            )
        # Row by row, however (channels_last) the tensor lies in memory.
        flat = tensor.detach().cpu().contiguous().flatten()
        positions = flat.nonzero().flatten().to(POSITION)
        cost = positions.numel() * (POSITION.itemsize + flat.itemsize)
        fits = flat.numel() <= torch.iinfo(POSITION).max
        if tensor.ndim >= 2 and fits and cost < flat.numel() * flat.itemsize:
            stored[f"{name}/positions"] = positions
            stored[f"{name}/values"] = flat[positions.long()]
        else:
            stored[name] = flat.clone()
        shapes[name] = list(tensor.shape)
    # Under one key, since safetensors writes several keys in no fixed order.
    about = {"format": FORMAT, "shapes": shapes, "sha256": _digest(stored, shapes)}
    return save(stored, {"about": json.dumps(about)})


def load_sparse(path: str | Path, model: Model) -> Model:
    """Load a file that :func:`save_sparse` wrote into ``model``, and return the model.

    Parameters and saved buffers on the meta device move to the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another format, or of another model
            (names, shapes or dtypes differ). ``model`` is then as it was.
    """
    weights = _read(Path(path))
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        ours, theirs = (_kind(state.get(name)) for state in (expected, weights))
        if ours != theirs:
            raise ValueError(
                f"{path} holds another model: {name} is {theirs} in the file and "
                f"{ours} in {type(model).__name__}"
            )
    meta = {name: weights[name] for name in expected if expected[name].is_meta}
    if meta:  # they have no memory to copy into
        model.load_state_dict(meta, strict=False, assign=True)
    model.load_state_dict(weights)
    return model


def _read(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"no sparse weights at {path}")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about.get("format") != FORMAT:
            raise ValueError(f"format {about.get('format')!r}, expected {FORMAT!r}")
        if about["sha256"] != _digest(stored, about["shapes"]):
            raise ValueError("wrong checksum")
        return {
            name: _dense(name, shape, stored) for name, shape in about["shapes"].items()
        }
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged or not a sparse file of this package ({error})"
        ) from error


def _dense(name: str, shape: list[int], stored: dict[str, Tensor]) -> Tensor:
    if name in stored:
        return stored[name].reshape(shape)
    values = stored[f"{name}/values"]
    flat = values.new_zeros(torch.Size(shape).numel())
    flat[stored[f"{name}/positions"].long()] = values
    return flat.reshape(shape)


def _digest(stored: dict[str, Tensor], shapes: dict[str, list[int]]) -> str:
    """SHA-256 of shapes, names, dtypes and contents; safetensors has no checksum."""
    digest = hashlib.sha256(json.dumps(shapes).encode())
    for name, tensor in sorted(stored.items()):
        digest.update(f"{name} {tensor.dtype} {len(tensor)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kind(entry: object) -> str:
    if isinstance(entry, Tensor):
        return f"{tuple(entry.shape)} {entry.dtype}"
    return "absent" if entry is None else f"of type {type(entry).__name__}"
