"""The shipped YAML: where it is, and a copy of it to begin a site with."""

from __future__ import annotations

import shutil
from pathlib import Path

from opintel.site.errors import UserError


def shipped_folder() -> Path:
    """The folder of the shipped YAML: inside an installed wheel, or the checkout of an editable install."""
    here = Path(__file__).resolve().parent.parent
    return next((f for f in (here / "_defaults", here.parent) if (f / "streams").is_dir()), here / "_defaults")


def shipped_site() -> Path:
    """The `site.yaml` that `opintel init` copies."""
    return next(f for f in (shipped_folder() / "site.yaml", shipped_folder() / "deploy" / "site.yaml") if f.exists())


def copy_shipped(directory: Path) -> int:
    """Copies the shipped YAML below `directory`; how many files. UserError where one is there already."""
    shipped = shipped_folder()
    names = ("streams/*", "alerts/*", "models/*.yaml")
    files = [path for name in names for path in sorted(shipped.glob(name)) if path.is_file()]
    targets = {path: directory / path.relative_to(shipped) for path in files}
    targets[shipped_site()] = directory / "site.yaml"
    present = [str(target) for target in targets.values() if target.exists()]
    if present:
        raise UserError(f"{present[0]} is there already; nothing was copied (choose another folder)")
    try:
        for path, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}") from error
    return len(targets)
