"""``dreamstream models``: which there are, fetching, checking, converting, removing, adding.

It runs in a process of its own, with torch where weights are read; the bot only starts it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from generation.engine import EngineError
from generation.models import adding, download
from generation.models.catalogue import Model, ModelFile, added, catalogue
from generation.models.checkpoints import file_sha256
from generation.models.download import DownloadError

_SUMS = ".sha256"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 well, 1 not, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has seen enough, as “head” does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What is here is kept; the same command goes on with it.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dreamstream models", description="The models there are.")
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser("list", help="every model, and whether it is here")
    show.add_argument("--family", help="only those of one family")
    show.set_defaults(run=_list)

    pull = commands.add_parser("pull", help="fetch models, going on where it stopped")
    pull.add_argument("names", nargs="+", metavar="NAME")
    pull.add_argument("--yes", action="store_true", help="accept the licences that are shown")
    pull.set_defaults(run=_pull)

    verify = commands.add_parser("verify", help="compare files with what was published")
    verify.add_argument("names", nargs="*", metavar="NAME", help="all that are here, if none")
    verify.set_defaults(run=_verify)

    convert = commands.add_parser("convert", help="make safetensors of downloaded pickles")
    convert.add_argument("names", nargs="+", metavar="NAME")
    convert.add_argument("--delete", action="store_true", help="delete the pickle afterwards")
    convert.set_defaults(run=_convert)

    remove = commands.add_parser("remove", help="delete models' files")
    remove.add_argument("names", nargs="+", metavar="NAME")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(run=_remove)

    add = commands.add_parser("add", help="add a file of yours, or a model of the Hugging Face hub")
    add.add_argument("source", help="a file, or a hub id such as owner/name")
    add.add_argument("--family", required=True, help="what reads it; see the list")
    add.add_argument("--name", help="what it is to be called")
    add.add_argument("--title", default="", help="its name for people")
    add.add_argument("--licence", default="", help="its terms, in a sentence")
    add.add_argument(
        "--architecture", default="", help="of a clip or classifier: its name in open_clip or timm"
    )
    add.add_argument("--revision", default="main", help="of a hub model")
    add.add_argument("--yes", action="store_true", help="accept the licence that is shown")
    add.set_defaults(run=_add)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    models = [
        model
        for model in _all(arguments.folder).values()
        if arguments.family in (None, model.family)
    ]
    if not models:
        print(f"There is no family called {arguments.family}.", file=sys.stderr)
        return 1
    width = max(len(model.name) for model in models)
    for family in dict.fromkeys(model.family for model in models):
        print(f"{family}:")
        for model in models:
            if model.family == family:
                state, size = _state(model, arguments.folder), _size(model)
                memory = f", needs {model.memory_gb:g} GB" if model.memory_gb else ""
                print(f"  {model.name:<{width}}  {state:<9} {size:>10}  {model.title}{memory}")
                print(f"  {'':<{width}}  {model.licence}")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    return _fetch_all(_named(arguments), arguments.folder, accepted=arguments.yes)


def _fetch_all(models: list[Model], folder: Path, *, accepted: bool) -> int:
    wanted = [model for model in models if not model.shipped]
    for model in models:
        if model.shipped:
            print(f"{model.title} ships with Dreamstream.")
    missing = [model for model in wanted if _missing(model, folder)]
    for model in wanted:
        if model not in missing:
            print(f"{model.title} is here already.")
    if not missing:
        return 0
    print("\n".join(f"{model.title}: {model.licence} {model.page}" for model in missing))
    if not accepted and not _agreed("Fetch under these terms? [y/N] "):
        print("Nothing was fetched. With --yes it does not ask.", file=sys.stderr)
        return 1
    download.check_room(missing, folder)
    for model in missing:
        for file in _missing(model, folder):
            target = folder / model.name / file.name
            with tqdm(
                desc=f"{model.name}/{file.name}",
                total=file.size_bytes,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar:
                download.fetch(file, target, _showing(bar))
            if file.sha256 is None:
                _remember(target, folder / model.name)
        print(f"{model.title} is here.")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    models = _named(arguments) if arguments.names else list(_all(folder).values())
    status = looked = 0
    for model in models:
        if model.shipped:
            continue
        for file in model.files:
            path = folder / model.name / file.name
            if not path.is_file():
                if arguments.names:
                    print(f"{model.name}/{file.name} is not here.", file=sys.stderr)
                    status = 1
                continue
            looked += 1
            expected = file.sha256 or _remembered(path, folder / model.name)
            found = file_sha256(path)
            if expected is None:
                print(f"{model.name}/{file.name}: {found} (no checksum to compare it with)")
            elif expected == found:
                print(f"{model.name}/{file.name}: as published")
            else:
                print(
                    f"{model.name}/{file.name} is damaged, or another file. Delete it and run: "
                    f"dreamstream models pull {model.name}",
                    file=sys.stderr,
                )
                status = 1
    if not looked and not status:
        print("No published model is here.")
    return status


def _convert(arguments: argparse.Namespace) -> int:
    from generation.models.library import Library

    library = Library(arguments.folder)
    for model in _named(arguments):
        if model.shipped:
            print(f"{model.title} ships with Dreamstream, as safetensors.")
            continue
        for file in model.files:
            if file.name.endswith((".json", ".txt", ".model")):
                continue
            converted = library.path(model.name, file.name)
            print(f"{model.name}: {converted}")
            original = arguments.folder / model.name / file.name
            if arguments.delete and original != converted:
                original.unlink(missing_ok=True)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    for model in _named(arguments):
        if model.shipped:
            raise DownloadError(f"{model.title} is part of Dreamstream and stays.")
        places = [folder / model.name, folder / f"{model.name}.safetensors"]
        here = [place for place in places if place.exists()]
        if not here:
            print(f"{model.title} is not here.")
            continue
        print("\n".join(str(place) for place in here))
        if not arguments.yes and not _agreed("Delete? [y/N] "):
            print("Nothing was deleted.", file=sys.stderr)
            return 1
        for place in here:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
        print(f"{model.title} is removed.")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    families = {model.family for model in catalogue().values()}
    if arguments.family not in families:
        raise DownloadError(f"The families are {', '.join(sorted(families))}.")
    texts = {
        "title": arguments.title,
        "licence": arguments.licence,
        "architecture": arguments.architecture,
    }
    source = Path(arguments.source)
    if source.is_file():
        model = adding.add_file(source, arguments.folder, arguments.family, arguments.name, **texts)
        print(f"{model.title} is added as {model.name}.")
        return 0
    model = adding.describe_hub(
        arguments.source, arguments.family, arguments.name, arguments.revision, **texts
    )
    adding.write_entry(model, arguments.folder)
    return _fetch_all([model], arguments.folder, accepted=arguments.yes)


# --- small things ----------------------------------------------------------------------------


def _all(folder: Path) -> dict[str, Model]:
    return catalogue() | added(folder)


def _named(arguments: argparse.Namespace) -> list[Model]:
    known = _all(arguments.folder)
    for name in arguments.names:
        if name not in known:
            raise DownloadError(f"No model is called {name}. See: dreamstream models list")
    return [known[name] for name in dict.fromkeys(arguments.names)]


def _missing(model: Model, folder: Path) -> list[ModelFile]:
    if len(model.files) == 1 and (folder / f"{model.name}.safetensors").is_file():
        return []
    return [file for file in model.files if not (folder / model.name / file.name).is_file()]


def _state(model: Model, folder: Path) -> str:
    if model.shipped:
        return "ships"
    missing = _missing(model, folder)
    if not missing:
        return "here"
    begun = any((folder / model.name / f"{file.name}.part").exists() for file in model.files)
    return "begun" if begun or len(missing) < len(model.files) else "-"


def _size(model: Model) -> str:
    sizes = [file.size_bytes for file in model.files]
    known = sum(size or 0 for size in sizes)
    return f"{known / 1e6:,.0f} MB{'+' if None in sizes else ''}" if known else ""


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _showing(bar: tqdm[None]) -> Callable[[int, int | None], None]:
    def show(have: int, whole: int | None) -> None:
        bar.total = whole
        bar.update(have - bar.n)

    return show


def _remember(path: Path, folder: Path) -> None:
    """Note what was fetched, where the publisher's checksum is not known."""
    lines = [*_noted(folder), f"{file_sha256(path)}  {path.relative_to(folder).as_posix()}"]
    (folder / _SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _remembered(path: Path, folder: Path) -> str | None:
    name = path.relative_to(folder).as_posix()
    found = [line.split("  ", 1) for line in _noted(folder)]
    return next((entry[0] for entry in reversed(found) if entry[-1] == name), None)


def _noted(folder: Path) -> Iterable[str]:
    try:
        return (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
