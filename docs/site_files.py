"""A hook of MkDocs: the pages of the whole repository at their own paths, so that their links hold on the site."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# The pages, and what they link to.
WANTED = (
    "*.md",
    "LICENSE",
    "NOTICE",
    "docs/*.md",
    "docs/*.svg",
    "docs/*.css",
    "docs/images/*",
    "results/**/*.svg",
    "results/**/*.png",
)
MORE = ("checkpoints/demo/MODEL_CARD.md",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Takes out what MkDocs found below docs/, and puts in the same and more by its path from the top."""
    for file in [file for file in files if Path(file.abs_src_path or "").is_relative_to(config.docs_dir)]:
        files.remove(file)
    for path in sorted({path for pattern in (*WANTED, *MORE) for path in ROOT.glob(pattern)}):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files
