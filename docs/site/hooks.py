"""Join to the pages what is made from code, and lead links out of ``docs/`` to the repository."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build" / "client-api"
_LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]+)(?P<fragment>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the client's reference, which typedoc has written."""
    for page in sorted(CLIENT.rglob("*.md")):
        name = f"client-api/{page.relative_to(CLIENT).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(page)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Rewrite links to files of the repository that are no pages."""
    folder = PurePosixPath("docs", page.file.src_uri).parent

    def rewrite(found: re.Match[str]) -> str:
        path = (ROOT / folder / found["path"]).resolve()
        if path.is_relative_to(ROOT / "docs") or not path.exists():
            return found[0]
        kind = "tree" if path.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{path.relative_to(ROOT).as_posix()}{found['fragment'] or ''})"

    return _LINK.sub(rewrite, markdown)


def on_post_build(config: Any) -> None:
    """Write ``llms.txt`` (https://llmstxt.org): the pages by section, for programs that read them as Markdown."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for entry in config.nav:
        ((section, pages),) = entry.items()
        if not isinstance(pages, list):
            continue
        lines += ["", f"## {section}", ""]
        lines += [f"- [{title}]({config.repo_url}/raw/main/docs/{path})" for title, path in _leaves(pages)]
    Path(config.site_dir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _leaves(pages: list[Any]) -> Iterator[tuple[str, str]]:
    for page in pages:
        if isinstance(page, str):
            yield PurePosixPath(page).parent.name, page
            continue
        ((title, value),) = page.items()
        if isinstance(value, list):
            yield from _leaves(value)
        elif (ROOT / "docs" / value).is_file():
            yield title, value
