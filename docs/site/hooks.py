"""Join to the site what is written elsewhere, and lead links out of ``docs/`` to the repository."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "build" / "client-api"
JOINED = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
    "images/mark.svg": "client/site/mark.svg",
}
"""Files of the site by their files in the repository, outside ``docs/``."""

_CLIENT_INTRODUCTION = """
Import it from the package `voxgender`, or from a server, which serves it as `/client/index.js`.
[`VoxgenderClient`](#voxgenderclient) is the call, [`tap`](#tap) listens in on a call of another SDK, and
[`explain`](#explain) has words for errors. [Put it into your program](../embedding.md) shows how they are used.
"""
_SMALL_HEADING = re.compile(r"^#{5,6} (Parameters|Returns|Overrides|Inherited from|Type Parameters)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<path>(?![a-z]+:|#)[^)#\s]+)(?P<fragment>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the client's reference, which typedoc has written, and files from outside ``docs/``."""
    for uri, name in JOINED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    for page in sorted(CLIENT.rglob("*.md")):
        name = f"client-api/{page.relative_to(CLIENT).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(page)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links to files of the repository to their page, or to the repository where they are no pages."""
    uri = page.file.src_uri
    if uri.startswith("client-api/"):
        return _client_page(markdown)
    if uri == "http-openapi.md":
        # The document's title, a second one of the page: it hid the table of contents.
        return re.sub(r"^# voxgender .*\n", "", markdown, flags=re.MULTILINE)
    folder = (ROOT / JOINED.get(uri, f"docs/{uri}")).parent

    def rewrite(found: re.Match[str]) -> str:
        path = (folder / found["path"]).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            return found[0]
        name, fragment = path.relative_to(ROOT).as_posix(), found["fragment"] or ""
        target = next((uri for uri, joined in JOINED.items() if joined == name), name.removeprefix("docs/"))
        if (file := files.get_file_from_path(target)) is not None and file.inclusion is not InclusionLevel.EXCLUDED:
            return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{fragment})"
        kind = "tree" if path.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{name}{fragment})"

    return _LINK.sub(rewrite, markdown)


def _client_page(markdown: str) -> str:
    """Return typedoc's Markdown as Python-Markdown reads it, with fewer headings and an introduction."""
    title, _, rest = markdown.partition("\n")
    return title + "\n" + _CLIENT_INTRODUCTION + _SMALL_HEADING.sub(r"**\1**", rest).replace(r"\<", "&lt;")


def on_post_build(config: Any) -> None:
    """Write ``llms.txt`` (https://llmstxt.org): the pages by section, for programs that read them as Markdown."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for entry in config.nav:
        ((section, pages),) = entry.items()
        if not isinstance(pages, list):
            continue
        lines += ["", f"## {section}", ""]
        lines += [f"- [{title}]({config.repo_url}/raw/main/{name})" for title, name in _leaves(pages)]
    Path(config.site_dir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dead = sorted(_dead_links(Path(config.site_dir)))
    if dead:
        raise PluginError("Links that lead nowhere:\n" + "\n".join(dead))


def _dead_links(site: Path) -> Iterator[str]:
    """Yield the links of built pages to files that are not there: MkDocs passes over files that it leaves out."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in set(re.findall(r'(?:href|src)="(?![a-z]+:|#|//)([^"#?]+)', page.read_text(encoding="utf-8"))):
            path = page.parent / target
            if not path.is_file() and not (path / "index.html").is_file():
                yield f"{page.relative_to(site)}: {target}"


def _leaves(pages: list[Any]) -> Iterator[tuple[str, str]]:
    for page in pages:
        if isinstance(page, str):
            yield PurePosixPath(page).parent.name.capitalize(), f"docs/{page}"
            continue
        ((title, value),) = page.items()
        if isinstance(value, list):
            yield from _leaves(value)
        elif (ROOT / (name := JOINED.get(value, f"docs/{value}"))).is_file():
            yield title, name
