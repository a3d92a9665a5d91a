"""The pages of docs/ say what the tree holds; `make docs` builds them in CI."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import crackseg
from crackseg.exports import EXPORTS
from crackseg.networks import FAMILIES, NETWORKS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def rooms_in(text: str) -> set[str]:
    """Return the packages that stand in the first column of a table of rooms."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, flags=re.M)
    names = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    return {name for name in names if "/" in name and "." not in name} | ({"service"} & names)


@pytest.mark.parametrize("page", ["docs/architecture.md", "README.md"])
def test_the_map_of_rooms_is_that_of_the_tree(page: str) -> None:
    package = Path(crackseg.__file__).parent
    tree = {f"crackseg/{folder.name}" for folder in package.iterdir() if _holds_code(folder)}
    rooms = rooms_in((ROOT / page).read_text(encoding="utf-8"))
    if page == "README.md":  # which names some without the package before them
        rooms |= {"crackseg/training", "crackseg/commands"}
    assert rooms == tree | {"crackseg/models", "service"}


def _holds_code(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


@pytest.mark.parametrize("page", ["docs/architecture.md", "README.md"])
def test_the_map_names_every_module_beside_the_rooms(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").split("## The house")[-1]
    modules = {path.name for path in Path(crackseg.__file__).parent.glob("[!_]*.py")}
    assert modules <= set(re.findall(r"`(?:crackseg/)?(\w+\.py)`", text))


def test_the_order_of_the_page_is_the_one_that_is_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    order = [layer.replace("crackseg.", "") for layer in contracts["contracts"][0]["layers"]]
    blocks = re.findall(r"```\n(.*?)\n```", (DOCS / "architecture.md").read_text("utf-8"), re.S)
    assert blocks[0].splitlines() == order


def test_every_page_is_reached_from_the_index() -> None:
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    listed = re.findall(r"^([a-z-]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
    assert pages == set(listed)


PAGES = [ROOT / "README.md", ROOT / "data" / "EXPERIMENTS.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_row_of_a_table_is_of_another_table(page: Path) -> None:
    """A row has as many cells as the heading of its table, and no table has it twice."""
    tables: list[list[str]] = [[]]
    is_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        is_code ^= line.startswith("```")
        if line.startswith("|") and not is_code:
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    for heading, *rows in filter(None, tables):
        cells = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in rows]
        whole = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", heading)))
        assert cells == [whole] * len(rows), heading
        assert len(set(rows)) == len(rows), heading


@pytest.mark.parametrize("module", ["options", "augment"])
def test_every_option_of_a_run_says_why(module: str) -> None:
    text = (ROOT / "crackseg" / "training" / f"{module}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    classes = [c for c in ast.parse(text).body if isinstance(c, ast.ClassDef)]
    fields = [f for c in classes for f in c.body if isinstance(f, ast.AnnAssign)]
    assert len(fields) > 10
    bare = [f for f in fields if not (" # " in lines[f.lineno - 1] or _is_comment(lines, f))]
    assert [ast.unparse(f.target) for f in bare if "Options" not in ast.unparse(f.annotation)] == []


def test_every_option_of_a_written_run_file_says_why() -> None:
    text = (ROOT / "crackseg" / "run_template.toml").read_text(encoding="utf-8")
    bare = {
        k for k, _, rest in (s.partition(" = ") for s in text.splitlines()) if "# " not in k + rest
    }
    assert bare & set(re.findall(r"(?m)^(\w+) = ", text)) == {
        "manifest"
    }  # its reasons are above it


def _is_comment(lines: list[str], field: ast.AnnAssign) -> bool:
    return lines[field.lineno - 2].lstrip().startswith("#")


def test_the_page_on_scale_names_real_options() -> None:
    from crackseg.config import ScaleOptions, read_options

    text = (DOCS / "scale.md").read_text(encoding="utf-8")
    block = re.findall(r"```toml\n(.*?)```", text, flags=re.S)[0]
    read_options(ScaleOptions, tomllib.loads(block)["scale"])
    for name in re.findall(r"`scale\.(\w+)", text):
        assert name in ScaleOptions.__dataclass_fields__, name


@pytest.mark.parametrize("name", EXPORTS)
def test_help_and_pages_name_every_export(name: str) -> None:
    pages = [ROOT / "README.md", DOCS / "gis.md"]
    files = re.findall(
        r"^\| `([^`]+)` \|", "".join(page.read_text("utf-8") for page in pages), re.M
    )
    assert name in {word for file in files for word in file.split(".")}
    text = (ROOT / "crackseg" / "commands" / "analyzing.py").read_text(encoding="utf-8")
    help_text = "".join(re.findall(r'"By comma: (.*?)\)', text, flags=re.S))
    assert re.search(rf"\b{name}\b", help_text)


@pytest.mark.parametrize("name", [*NETWORKS, *FAMILIES])
def test_the_page_on_networks_names_every_network(name: str) -> None:
    page = (DOCS / "networks.md").read_text(encoding="utf-8")
    assert name in re.findall(r"^\| `(\w+)", page, flags=re.M)
