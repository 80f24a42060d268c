"""`onsphere inspect`: files and models that it reads, files that it refuses, and what comes out."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from browser import drawn
from onsphere import diagnostics, report
from onsphere.cli import main
from onsphere.diagnostics import WeightFileError, open_weights


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {f"layers.{k}.weight": torch.randn(20, 12, generator=generator) for k in (1, 2, 10)}
    state["layers.2.weight"][3] = state["layers.2.weight"][4]
    state["layers.2.weight"][5] = 0
    state["layers.10.weight"] += 0.7
    state["norm.weight"] = torch.ones(12)
    state["layers.1.bias"] = torch.zeros(20)
    return state


def save_shards(state: Mapping[str, Tensor], index: Path) -> None:
    names = list(state)
    shards = {"a.safetensors": names[:2], "b.safetensors": names[2:]}
    for file, part in shards.items():
        save_file({name: state[name] for name in part}, file)
    index.write_text(json.dumps({"weight_map": {name: file for file, part in shards.items() for name in part}}))


def with_safetensors(state: Mapping[str, Tensor]) -> str:
    save_file(dict(state), "model.safetensors")
    return "model.safetensors"


def without_suffix(state: Mapping[str, Tensor]) -> str:
    save_file(dict(state), "model")
    return "model"


def with_shards(state: Mapping[str, Tensor]) -> str:
    save_shards(state, Path("model.safetensors.index.json"))
    return "model.safetensors.index.json"


def with_torch(state: Mapping[str, Tensor]) -> str:
    torch.save(state, "model.pt")
    return "model.pt"


def as_checkpoint(state: Mapping[str, Tensor]) -> str:
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {0: {"step": torch.ones(())}}}}, "last.ckpt")
    return "last.ckpt"


def before_zip_files(state: Mapping[str, Tensor]) -> str:
    torch.save(state, "model.pth", _use_new_zipfile_serialization=False)
    return "model.pth"


WRITERS = [with_safetensors, without_suffix, with_shards, with_torch, as_checkpoint, before_zip_files]


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command gets."""
    assert main(["inspect", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("onsphere: ")
    assert err.count("\n") == 1
    return err


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["inspect", *argv]) == 0
    return capsys.readouterr().out


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_of_file_gives_the_numbers_of_its_tensors(write: Callable[[Mapping[str, Tensor]], str]) -> None:
    state = weights()
    found = diagnostics.inspect(open_weights(write(state)))
    assert found.layers == diagnostics.inspect(state).layers
    assert [layer.name for layer in found.layers] == ["layers.1", "layers.2", "layers.10"]  # and not 1, 10, 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_precisions_are_read(dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in weights().items()}
    found = diagnostics.inspect(open_weights(with_safetensors(state)))
    assert found.layers == diagnostics.inspect(state).layers
    assert found.layers[1].near_duplicates == 2


class Evil:
    """Unpickled, it makes a file: the mark that something was executed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def evil_zip() -> None:
    torch.save({"fc.weight": torch.eye(3), "evil": Evil()}, "evil.pt")


def evil_legacy() -> None:
    torch.save({"fc.weight": torch.eye(3), "evil": Evil()}, "evil.pt", _use_new_zipfile_serialization=False)


def evil_pickle() -> None:
    Path("evil.pt").write_bytes(pickle.dumps({"evil": Evil()}))


def whole_module() -> None:
    torch.save(nn.Linear(3, 3), "evil.pt")


@pytest.mark.parametrize("write", [evil_zip, evil_legacy, evil_pickle, whole_module])
def test_a_file_that_would_have_to_be_unpickled_is_refused(
    write: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    said = refused(["evil.pt"], capsys)
    assert "evil.pt is refused: it holds more than tensors, and reading that can run code from the file" in said
    assert "save model.state_dict() alone, or give dotted.module:factory" in said
    assert not Path("executed").exists()
    if write is evil_zip:
        assert "(it asks for posix.mkdir)" in said
        torch.load("evil.pt", weights_only=False)  # the trap does work
        assert Path("executed").exists()


def cut(name: str, size: int) -> str:
    Path(name).write_bytes(Path(name).read_bytes()[:size])
    return name


def with_text(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def with_a_list() -> str:
    torch.save([torch.eye(3)], "list.pt")
    return "list.pt"


def with_a_missing_shard() -> str:
    name = with_shards(weights())
    Path("b.safetensors").unlink()
    return name


def with_a_folder() -> str:
    with_shards(weights())
    return "."


DAMAGED: dict[str, tuple[Callable[[], str], str]] = {
    "safetensors, cut": (lambda: cut(with_safetensors(weights()), 900), "truncated or no safetensors file"),
    "safetensors, in its header": (lambda: cut(with_safetensors(weights()), 20), "truncated or no safetensors file"),
    "torch, cut": (lambda: cut(with_torch(weights()), 900), "is truncated or damaged: PytorchStreamReader failed"),
    "legacy, cut": (lambda: cut(before_zip_files(weights()), 900), "is truncated or damaged"),
    "empty": (lambda: with_text("a.pt", ""), "neither a safetensors file nor one made by torch.save"),
    "text": (lambda: with_text("a.pt", "hello " * 99), "neither a safetensors file nor one made by torch.save"),
    "a list": (with_a_list, "holds a list and not a state dict"),
    "no weights": (lambda: with_torch({"bias": torch.ones(3)}), "found no weights to look at"),
    "a missing shard": (with_a_missing_shard, "names b.safetensors, which is not beside it"),
    "no index": (lambda: with_text("a.json", '{"x": 1}'), "is not the index of a sharded"),
    "a folder": (
        with_a_folder,
        "is a folder, not a file of weights: give a file in it, such as model.safetensors.index",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_foreign_file_gets_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, message = DAMAGED[case]
    name = make()
    assert message in refused([name], capsys)
    with pytest.raises((WeightFileError, ValueError), match=re.escape(message)):
        diagnostics.inspect(open_weights(name))


def test_a_missing_file_is_said_with_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(9):
        Path(f"other{k}").touch()
    with_torch(weights())
    assert refused(["modle.pt"], capsys) == "onsphere: there is no file modle.pt; did you mean model.pt?\n"


MEMORY = """
import sys
import safetensors, torch
from onsphere import diagnostics

def peak():
    with open("/proc/self/status") as file:  # of this process, unlike ru_maxrss, which starts with the parent's
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

diagnostics.inspect({"weight": torch.randn(256, 512)})
before = peak()
for name in sys.argv[1:]:
    assert len(diagnostics.inspect(diagnostics.open_weights(name)).layers) == 26
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_a_large_file_is_read_layer_by_layer() -> None:
    """Files of 208 MiB, 26 layers of 8 MiB: they take the 64 MiB after which a file is mapped anew, and some copies of
    one layer."""
    layer = torch.randn(64, 65536).half()
    names = [write({f"{k}.weight": layer.clone() for k in range(26)}) for write in (with_safetensors, with_torch)]
    assert all(Path(name).stat().st_size > 208 << 20 for name in names)
    command = [sys.executable, "-c", MEMORY, *names]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=one_thread)
    assert float(done.stdout) < 140


# --- models by their dotted names -----------------------------------------------------------------------------------

MODULE = """
from torch import nn

def net():
    import my_sizes  # from the current folder, only now
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))

class Nets:
    small = staticmethod(net)

ready = net()
state = dict(net().state_dict())

def needs(width):
    return net()

def wrong():
    return 3
"""


@pytest.mark.parametrize("name", ["net", "Nets.small", "ready", "state"])
def test_a_model_is_made_by_a_dotted_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_nets.py").write_text(MODULE)
    Path("my_sizes.py").touch()
    before = list(sys.path)
    data = json.loads(printed([f"my_nets:{name}", "--json"], capsys))
    assert [layer["name"] for layer in data["layers"]] == ["0", "1"]
    assert sys.path == before


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("my_nets2:net", "cannot import 'my_nets2': No module named 'my_nets2'"),
        ("my_nets:nett", "'my_nets' has no 'nett'; did you mean net?"),
        ("my_nets:needs", "needs arguments (missing a required argument: 'width'): name a function that takes none"),
        ("my_nets:wrong", "gives a int: expected a torch.nn.Module, or a function that makes one"),
        ("my_nets", "there is no file my_nets"),
    ],
)
def test_a_wrong_dotted_name_gets_one_line(what: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_nets.py").write_text(MODULE)
    Path("my_sizes.py").touch()
    assert message in refused([what], capsys)


# --- the command ----------------------------------------------------------------------------------------------------


def test_it_prints_tables_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed([with_torch(weights())], capsys)
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert re.search(r"^layers\.10 +20 +12 ", text, re.MULTILINE)
    first = [line.split()[0] for line in text.splitlines() if line.startswith("layers.")]
    assert first == ["layers.10", "layers.2", "layers.1"] * 2  # the most correlated first
    assert "Near-duplicates (another neuron within 1 degree): 2, in layers.2 (2)." in text
    assert "Zero neurons: 1, in layers.2 (1)." in text
    assert "mean ± standard deviation" in text


def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onsphere.cli.inspect.WIDTH", 101)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    text = printed([with_torch(weights())], capsys)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 80
    assert plain.count("Energies;") == 2
    assert "…" not in plain


def test_top_shows_the_worst_only(capsys: pytest.CaptureFixture[str]) -> None:
    name = with_torch(weights())
    text = printed([name, "--top", "1"], capsys)
    assert len(re.findall(r"^layers\.", text, re.MULTILINE)) == 2
    data = json.loads(printed([name, "--top", "1", "--json"], capsys))
    assert data["worst"] == ["layers.10"]
    assert len(data["layers"]) == 3


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    state = weights()
    name = with_safetensors(state)
    data = json.loads(printed([name, "--json", "--threshold", "0.3", "--html", "page.html"], capsys))
    expected = diagnostics.inspect(state, threshold=0.3).as_dict()
    assert data["source"] == name
    assert {key: data[key] for key in expected} == json.loads(json.dumps(expected))
    assert Path("page.html").exists()


def test_layers_and_samples_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        with_torch(weights()),
        "--json",
        "--layers",
        "*.1",
        "--layers",
        "*.10",
        "--max_neurons",
        "8",
        "--device",
        "cpu",
    ]
    data = json.loads(printed(argv, capsys))
    assert [(layer["name"], layer["sampled"]) for layer in data["layers"]] == [("layers.1", 8), ("layers.10", 8)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: FILE | MODULE:FACTORY"),
        (["model.pt", "--treshold", "1"], "unknown argument '--treshold'; did you mean --threshold?"),
        (["model.pt", "--top", "0"], "--top must be at least 1, got 0"),
        (["model.pt", "--top", "x"], "--top: invalid int value: 'x'"),
        (["model.pt", "--threshold", "1"], "threshold is a cosine, at least -1 and below 1; got 1.0"),
        (["model.pt", "--max_neurons", "1"], "max_neurons must be at least 2"),
        (["model.pt", "--layers", "x*"], "no layer matches 'x*'; the layers are: layers.1, layers.2, layers.10"),
        (["model.pt", "--device", "nowhere"], "--device nowhere: "),
        (["model.pt", "--html", "no/page.html"], "--html no/page.html: there is no folder no"),
    ],
)
def test_a_mistake_gets_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with_torch(weights())
    assert message in refused(argv, capsys)


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["inspect", "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "onsphere inspect model.safetensors" in out
    assert "(default: 0.2)" in out
    assert main(["--help"]) == 0
    assert "inspect FILE" in capsys.readouterr().out


def test_ctrl_c_prints_what_is_done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from onsphere.diagnostics import inspection

    calls, tally = [], inspection.tally

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tally(*arguments)

    monkeypatch.setattr(inspection, "tally", interrupted)
    name = with_torch(weights())
    assert main(["inspect", name, "--json", "--html", "page.html"]) == 130
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert [layer["name"] for layer in data["layers"]] == ["layers.1", "layers.2"]
    assert not data["complete"]
    assert "interrupted" in err
    assert "The inspection was interrupted" in Path("page.html").read_text()


def test_a_reader_that_leaves_early_is_no_error() -> None:
    name = with_torch({f"{k}.weight": torch.randn(20, 9) for k in range(300)})  # more than a pipe holds
    command = [sys.executable, "-m", "onsphere", "inspect", name, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


# --- the page -------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_data(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"source": "model.pt", "onsphere": "0.1.0", **diagnostics.inspect(state).as_dict()}


def test_the_page_holds_notes_figures_and_all_numbers() -> None:
    data = page_data(weights())
    report.write_inspection(data, "page.html")
    page = Page(Path("page.html").read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset"} & attributes.keys(), (tag, attributes)
    words = [word for word in page.words if len(word) < 500]
    for layer in data["layers"]:
        for cell in (layer["name"], f"{layer['minimum_angle_deg']:.2f}", f"{100 * layer['share_above']:.2f}"):
            assert cell in words
        for name, value in layer["energies"].items():
            assert f"{value:.5g}" in words, name
    for note in data["notes"]:
        assert note in words
    figures = [json.loads(word) for word in page.words if word.startswith('{"data"')]
    assert len(figures) == 2
    angles, cosines = figures
    assert angles["data"][2]["y"] == [layer["minimum_angle_deg"] for layer in data["layers"]]
    bars = [trace for trace in cosines["data"] if trace["type"] == "bar"]
    assert [sum(bar["y"]) for bar in bars] == [190, 171, 190]  # all pairs are in a histogram
    lines = [trace for trace in cosines["data"] if trace["type"] == "scatter"]
    assert all(170 < sum(line["y"]) <= 190.001 for line in lines)


def test_hostile_names_stay_text() -> None:
    data = page_data({"</script><img src=x>.weight": torch.randn(9, 4)})
    report.write_inspection(data | {"source": "<b>"}, "page.html")
    tags = [tag for tag, _ in Page(Path("page.html").read_text(encoding="utf-8")).tags]
    assert "img" not in tags
    assert "b" not in tags


def test_a_page_of_extremes_is_written() -> None:
    """A dead layer, one and two dimensions, equal rows: numbers that are unknown or infinite."""
    state = {"dead.weight": torch.zeros(3, 3), "line.weight": torch.ones(4, 1), "same.weight": torch.ones(4, 9)}
    report.write_inspection(page_data(state | {"flat.weight": torch.randn(4, 2)}), "page.html")
    assert "∞" in Path("page.html").read_text(encoding="utf-8")


def test_other_data_is_refused() -> None:
    with pytest.raises(ValueError, match="expected what `onsphere inspect --json` prints"):
        report.write_inspection({"schema": 1, "rows": []}, "page.html")
    assert not Path("page.html").exists()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_draws_the_page_without_a_console_error(tmp_path: Path) -> None:
    report.write_inspection(page_data(weights()), "page.html")
    assert drawn(tmp_path / "page.html", tmp_path / "profile").count('class="main-svg"') >= 2
