"""The docs are true: their commands are composed or run, their code runs, their links and generated pages hold."""

import functools
import importlib.util
import re
import shlex
import shutil
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import composed, picture, write_mnist
from hydra.core.override_parser.overrides_parser import OverridesParser

from wgangp.app.compose import load_config
from wgangp.app.plain import plain
from wgangp.app.resumed_config import changed
from wgangp.run_dir.record import Record

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDES = [ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
SMALL = ["steps=2", "batch_size=4", "n_critic=1", "log_every=2", "evaluation_samples=20"]


def blocks(page):
    """(language, title, text) of each fenced block; language and title are "" where they are absent."""
    found = re.findall(r'^ *```(\w*)(?: title="([^"]+)")?\n(.*?)^ *```$', page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, title, text) for language, title, text in found]


def commands(page, languages=("", "bash")):
    """The arguments of each `wgangp-NAME ...` in the page's blocks: [["wgangp-train", "steps=1"], ...]."""
    text = "\n".join(text for language, _, text in blocks(page) if language in languages)
    lines = text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines if re.match(r" *(exec )?wgangp-", line)]
    return [words[1:] if words[0] == "exec" else words for words in split]


def is_sweep(words):
    return bool({"-m", "--multirun"} & set(words)) or any(word.startswith("sweep=") for word in words)


# ---- commands


@functools.cache
def parser():
    return OverridesParser.create()


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_every_command_of_the_guides_composes(page):
    """Keys and options exist. A sweep's values are tried one by one; those of a search are not values."""
    for name, *words in commands(page):
        if name != "wgangp-train" or any(word.startswith("--config-dir") for word in words):
            continue  # the other commands are run below or in test_commands.py
        overrides = [word for word in words if not word.startswith("-")]
        plain, swept = [], []
        for text, override in zip(overrides, parser().parse_overrides(overrides), strict=True):
            if override.key_or_group.startswith("hydra"):
                continue
            (swept if override.is_sweep_override() else plain).append((text, override))
        composed(*(text for text, _ in plain))
        for _, override in swept:
            values = override.sweep_string_iterator() if override.is_choice_sweep() else [1]
            for value in values:
                composed(*(text for text, _ in plain), f"{override.key_or_group}={value}")


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_other_commands_of_the_guides_have_keys_that_exist(page):
    for name, *words in commands(page):
        if name in ("wgangp-sample", "wgangp-evaluate"):
            load_config(*words, config_name=name.removeprefix("wgangp-"))
        elif name == "wgangp-resume":
            changed(Record(plain(composed())), [word for word in words if not word.startswith("run=")])
        elif name == "wgangp-summarize":
            assert all(re.match(r"(sweep|objective)=", word) for word in words)


def test_every_override_of_the_settings_page_composes():
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "how-to" / "settings.md").read_text(), re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        composed(*([] if "experiment=" in row else ["dataset=mnist"]), *row.split())


@pytest.fixture
def workplace(call, tmp_path, monkeypatch):
    """An empty folder with the data that the guides speak of; what is in it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("WGANGP_DATA", raising=False)
    write_mnist(tmp_path / "data" / "MNIST" / "raw", n=64)
    for i in range(8):
        picture(tmp_path / "my" / "photos" / f"class{i % 2}" / f"{i}.png")
    shutil.make_archive(str(tmp_path / "photos"), "zip", tmp_path / "my" / "photos")
    (tmp_path / "sentences.txt").write_text("\n".join(f"sentence {i}" for i in range(700)))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def run_page(page, call, folder):
    """Writes the blocks that have a title, executes Python in one namespace and runs commands, in the page's order."""
    namespace = {"__name__": "__main__"}
    for language, title, text in blocks(page):
        if title:
            (folder / title).parent.mkdir(parents=True, exist_ok=True)
            (folder / title).write_text(text)
        elif language == "python":
            exec(compile(text, f"{page.name}: {text.splitlines()[0]}", "exec"), namespace)
        elif language == "bash":
            for name, *words in commands_in(text):
                run_small(name, words, call, page)
    return namespace


def commands_in(text):
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def run_small(name, words, call, page):
    assert name.startswith("wgangp-"), f"{page.name}: only wgangp's commands are run in bash blocks, not {name}"
    if is_sweep(words):
        return  # composed by the test above
    small = {
        "wgangp-train": [*SMALL, "generator.width=4", "critic.width=4"],
        "wgangp-resume": ["steps=3"],
        "wgangp-sample": ["n=20"],
        "wgangp-evaluate": ["n=20"],
    }[name]
    small += ["dataset.size=16"] if "dataset=image_folder" in words else []
    if {"dataset=table", "dataset=array"} & set(words):
        small.remove("batch_size=4")  # the page's data have as many samples as a batch wants
    code, text = call(name.removeprefix("wgangp-"), *words, *small)
    assert code == 0, f"{page.name}: {name} {shlex.join(words)}\n{text}"


def test_the_tutorials_commands_run(call, workplace):
    run_page(DOCS / "tutorial.md", call, workplace)


def test_your_own_data(call, workplace):
    run_page(DOCS / "how-to" / "data.md", call, workplace)


def test_arrays_of_your_own(call, workplace):
    run_page(DOCS / "how-to" / "arrays.md", call, workplace)


def test_conditions_of_your_own(call, workplace):
    run_page(DOCS / "how-to" / "conditions.md", call, workplace)


def test_the_networks_page(call, workplace):
    names = run_page(DOCS / "how-to" / "networks.md", call, workplace)
    assert names["score"].shape == (4, 1) and names["loss"].isfinite()


def test_extensions_by_the_how_to_alone(call, workplace):
    """Own dataset, networks, penalty and metric, outside the package: trained with, sampled, resumed and evaluated."""
    page = DOCS / "how-to" / "extend.md"
    run_page(page, call, workplace)
    assert '"eval/spread"' in (workplace / "outputs" / "spread" / "evaluation.json").read_text()
    runs = sorted(path.parent.parent.name for path in workplace.glob("outputs/*/*/.hydra"))
    assert runs == ["gaussians25", "ring"]  # the penalty's and the dataset's
    for language, title, text in blocks(page):
        assert language != "yaml" or len([line for line in text.splitlines() if line.strip()]) < 10, title


def test_extensions_need_to_be_allowed(call, workplace):
    page = DOCS / "how-to" / "extend.md"
    for _, title, text in blocks(page):
        if title:
            (workplace / title).parent.mkdir(parents=True, exist_ok=True)
            (workplace / title).write_text(text)
    for option in ("dataset=ring", "generator=silu", "penalty=mean_norm"):
        code, text = call("train", "--config-dir=myconf", option, *SMALL)
        assert code == 1 and "allow=[my_package]" in text, text


def test_the_notebook(call, workplace):
    """In a thread, as some notebooks run their cells."""
    with ThreadPoolExecutor(1) as thread:
        names = thread.submit(run_page, DOCS / "how-to" / "notebook.md", call, workplace).result()
    assert names["samples"].shape == (16, 2) and len(names["losses"]) > 0
    assert (workplace / "outputs" / "mine" / "checkpoints").is_dir()


def test_the_readmes_code(workplace):
    names = {"critic": torch.nn.Linear(2, 1), "real": torch.randn(8, 2), "fake": torch.rand(8, 2)}
    for language, _, text in blocks(ROOT / "README.md"):
        if language == "python":
            exec(text, names)
    assert names["loss"].ndim == 0


def test_the_messages_of_the_trust_page(call, workplace):
    rows = re.findall(r"^\| `(\S+=[^`]*)` \| (.*) \|$", (DOCS / "explanation" / "trust.md").read_text(), re.MULTILINE)
    assert len(rows) > 5
    for words, message in rows:
        code, text = call("train", *shlex.split(words))
        assert code == 1 and message in text, f"{words}: the page says {message!r}, the command {text!r}"


# ---- pages


def test_the_generated_pages_are_fresh():
    """`python scripts/reference.py` mends it."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for page, text in reference.pages().items():
        assert page.read_text() == text, f"{page.relative_to(ROOT)} is stale: run python scripts/reference.py"


def anchors(page):
    """The ids of a page's headings, as mkdocs makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if not re.match(r"https?:", target):
            file = (page.parent / path).resolve() if path else page
            assert file.is_file(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_in_the_sites_menu():
    menu = (DOCS / "mkdocs.yml").read_text()
    assert not [
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if f": {page.relative_to(DOCS)}\n" not in menu
    ]


def test_the_run_directorys_page_names_every_file(call, workplace):
    """And every file that it names, but for what only other runs write, is there after a run."""
    arguments = ["evaluate_every=2", "monitor=eval/high_quality", "checkpoint_every=1", "hydra.run.dir=run"]
    code, text = call("train", *SMALL, *arguments)
    assert code == 0, text
    code, text = call("evaluate", "run=run", "n=20", "metrics=[modes]")
    assert code == 0, text
    table = (DOCS / "reference" / "run-directory.md").read_text().split("## A checkpoint")[0]
    named = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    patterns = [re.sub(r"\d{8}", "*", name) for name in named]
    files = [file.relative_to("run") for file in Path("run").rglob("*") if file.is_file()]
    unnamed = [str(file) for file in files if not any(file.match(pattern) for pattern in patterns)]
    assert not unnamed, f"docs/reference/run-directory.md does not name {unnamed}"
    elsewhere = {"checkpoints/*.damaged", "checkpoints/*.later", "samples/seed_*", "profile/"}
    absent = [p for p in patterns if p not in elsewhere and not any(file.match(p) for file in files)]
    assert not absent, f"docs/reference/run-directory.md names {absent}, and a run has no such file"


def test_the_call_path_of_the_explanation(monkeypatch, call):
    """The files on the stack at the first optimizer step, in their order, none twice and at most eight."""

    class FirstStep(Exception):
        pass

    def step(self, closure=None):
        frames = [Path(frame.filename) for frame in traceback.extract_stack()]
        inside = [file.relative_to(ROOT).as_posix() for file in frames if (ROOT / "wgangp") in file.parents]
        path.extend(file for i, file in enumerate(inside) if i == 0 or inside[i - 1] != file)
        raise FirstStep

    path = []
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    call("train", *SMALL, "compile=false", "hydra.run.dir=run")
    page = (DOCS / "explanation" / "step.md").read_text()
    told = re.findall(r"^\d  (wgangp/\S+\.py) ", page, re.MULTILINE)
    assert path == told and len(set(path)) == len(path) <= 8, f"the page says {told}, and the stack is {path}"


def test_the_readme_is_short_and_installs_from_the_checkout():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 80
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    assert not [page.name for page in pages if re.search(r"pip install ['\"]?wgangp", page.read_text())]
