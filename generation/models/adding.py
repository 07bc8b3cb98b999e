"""Adding models that the catalogue does not know: a file, or a model of the Hugging Face hub."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from generation.models.catalogue import LOCAL, NAME, Model, ModelFile, added, catalogue
from generation.models.checkpoints import file_sha256
from generation.models.download import DownloadError
from generation.models.library import reader

_HUB = "https://huggingface.co"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED = (".safetensors", ".json", ".txt", ".model")


def add_file(
    source: Path,
    folder: Path,
    family: str,
    name: str | None = None,
    *,
    title: str = "",
    licence: str = "",
    architecture: str = "",
) -> Model:
    """Copy a file of weights into the models folder, with an entry beside it.

    Raises:
        DownloadError: the name is taken, or none.
        CheckpointError: it is no file of weights.
    """
    name = _free(name or re.sub(r"[^A-Za-z0-9._-]+", "-", source.stem).strip("-._"), folder)
    reader(family)(source)
    target = folder / name / source.name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    shutil.copyfile(source, partial)
    partial.replace(target)
    size, sha256 = target.stat().st_size, file_sha256(target)
    model = Model(
        name=name,
        family=family,
        title=title or name,
        licence=licence or "Terms not known; ask whoever you have it from",
        architecture=architecture,
        files=(ModelFile(name=source.name, size_bytes=size, sha256=sha256),),
    )
    write_entry(model, folder)
    return model


def describe_hub(
    hub_id: str,
    family: str,
    name: str | None = None,
    revision: str = "main",
    *,
    title: str = "",
    licence: str = "",
    architecture: str = "",
) -> Model:
    """Ask the hub which files a model has; only safetensors and plain texts are taken.

    Raises:
        DownloadError: there is no such file or hub model, or it has no safetensors.
    """
    if _HUB_ID.fullmatch(hub_id) is None:
        raise DownloadError(f"{hub_id} is neither a file here nor a hub id such as owner/name.")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi(endpoint=_HUB).model_info(hub_id, revision=revision, files_metadata=True)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise DownloadError(f"The hub does not tell about {hub_id}: {error}") from error
    siblings = list(info.siblings or ())
    names = [sibling.rfilename for sibling in siblings]
    # A pipeline's parts lie in folders; what lies beside model_index.json is the same once more.
    parts = "model_index.json" in names
    files = tuple(
        ModelFile(
            name=sibling.rfilename,
            url=f"{_HUB}/{hub_id}/resolve/{info.sha}/{sibling.rfilename}",
            size_bytes=sibling.size,
            sha256=None if sibling.lfs is None else sibling.lfs.sha256,
        )
        for sibling in siblings
        if sibling.rfilename.endswith(_WANTED)
        and not (parts and "/" not in sibling.rfilename and sibling.rfilename.endswith("tensors"))
        and not re.search(r"\.(fp16|non_ema|onnx)\.", sibling.rfilename)
    )
    if not any(file.name.endswith(".safetensors") for file in files):
        raise DownloadError(f"{hub_id} has no safetensors files; other kinds are not fetched.")
    told = getattr(info.card_data, "license", None)
    return Model(
        name=name or hub_id.replace("/", "--"),
        family=family,
        title=title or hub_id,
        licence=licence or f"{told or 'Terms not stated'}: read {_HUB}/{hub_id}",
        page=f"{_HUB}/{hub_id}",
        architecture=architecture,
        files=files,
    )


def write_entry(model: Model, folder: Path) -> None:
    """Write a model's entry beside its files.

    Raises:
        DownloadError: the name is taken.
    """
    if added(folder).get(model.name) != model:
        _free(model.name, folder)
    path = folder / model.name / LOCAL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.toml.encode(_without_none(model)))


def _free(name: str, folder: Path) -> str:
    if NAME.fullmatch(name) is None:
        raise DownloadError(f"“{name}” cannot be a model's name. Give one with --name.")
    if name in catalogue() or name in added(folder):
        raise DownloadError(f"There is a model called {name} already. Give another with --name.")
    return name


def _without_none(model: Model) -> dict[str, object]:
    """Return an entry as TOML can hold it: what is not known is left out."""
    fields: dict[str, object] = msgspec.structs.asdict(model)
    fields["files"] = [
        {key: value for key, value in msgspec.structs.asdict(file).items() if value is not None}
        for file in model.files
    ]
    return {key: value for key, value in fields.items() if value is not None}
