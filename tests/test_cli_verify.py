"""`onsphere verify`: every kind of set, with the numbers of the library; and what is refused before any work."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from onsphere import report, verification
from onsphere.cli import main
from onsphere.data import Images
from onsphere.recipes import RECIPES
from onsphere.verification.extraction import extract

FOLDS = 5
MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3 * 4 * 3, 8))

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        raise AssertionError("the features are meant")

def build():
    return Model()

def grey():
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten())

def with_arguments(width):
    return Model()

def interrupted():
    class Stop(nn.Module):
        def forward(self, images):
            raise KeyboardInterrupt
    return Stop()

weights = {"body.2.bias": torch.zeros(8)}
"""


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People as images in folders, in a .bin set and as features, and a model in a module."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    faces = rng.integers(60, 190, (12, 8, 6, 3))
    lines = [f"{FOLDS}\t4"]
    encoded, same, shots = [], [], {}
    for person, face in enumerate(faces):
        (folder / "people" / f"P{person}").mkdir(parents=True)
        for number in range(1, 6):
            pixels = np.clip(face + rng.integers(-45, 45, face.shape), 0, 255).astype(np.uint8)
            shots[person, number] = _png(pixels)
            (folder / "people" / f"P{person}" / f"P{person}_{number:04d}.png").write_bytes(shots[person, number])
    for fold in range(FOLDS):
        for kind in (True, False):
            for i in range(4):
                one, other = (2 * fold + i) % 12, (2 * fold + i + 1) % 12
                if kind:
                    lines.append(f"P{one}\t{fold + 1}\t{(fold + 1) % 5 + 1}")
                    encoded += [shots[one, fold + 1], shots[one, (fold + 1) % 5 + 1]]
                else:
                    lines.append(f"P{one}\t{fold + 1}\tP{other}\t{fold + 1}")
                    encoded += [shots[one, fold + 1], shots[other, fold + 1]]
                same.append(kind)
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n")
    verification.write_bin(folder / "set.bin", encoded, same)
    (folder / "verified_models.py").write_text(MODEL)
    np.savez(folder / "rows.npz", features=rng.standard_normal((80, 4)), same=same)
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def run(words: str) -> int:
    return main(["verify", *words.split()])


def found(words: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What `--json` prints about every set."""
    assert run(f"{words} --json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["kind"]) == (1, "verification")
    sets: list[dict[str, Any]] = data["sets"]
    return sets


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("name", "source")}


def _pixels(encoded: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(encoded)))


def _expected(flip: str) -> verification.Verification:
    """The same by hand: decode, normalise, look, compare."""
    namespace: dict[str, Any] = {}
    exec(MODEL, namespace)
    model = namespace["build"]()
    images = torch.tensor(np.stack([_pixels(image) for image in verification.read_bin("set.bin").images]))
    x = ((images.double() - 127.5) / 128).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        one, other = model.features(x).double().numpy(), model.features(x.flip(3)).double().numpy()
    whole = {"none": one, "sum": one + other, "concatenate": np.hstack([one, other])}[flip]
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    same = verification.read_bin("set.bin").same
    scores = (whole[::2] * whole[1::2]).sum(1)
    return verification.verify(scores, same, verification.consecutive_folds(same, FOLDS))


class TestImages:
    @pytest.mark.parametrize("flip", ["concatenate", "sum", "none"])
    def test_a_bin_set_and_a_model(self, flip: str, capsys: pytest.CaptureFixture[str]) -> None:
        (result,) = found(f"set.bin --model verified_models:build --folds {FOLDS} --flip {flip} --batch 7", capsys)
        expected = _expected(flip)
        for name, value in expected.percent().items():
            assert result[name] == pytest.approx(value, abs=1e-9)
        np.testing.assert_allclose(result["thresholds"], expected.thresholds, atol=1e-6)
        np.testing.assert_allclose(result["fold_verification"], 100 * expected.fold_accuracy, atol=1e-9)
        assert (result["name"], result["same"], result["different"], result["folds"]) == ("set", 20, 20, FOLDS)
        assert 55 < result["verification"] < 100  # nothing is decided beforehand

    def test_a_folder_with_a_file_of_pairs_is_the_same_set(self, capsys: pytest.CaptureFixture[str]) -> None:
        one, other = found(f"set.bin --model verified_models:build --folds {FOLDS}", capsys), found(
            "people --pairs pairs.txt --model verified_models:build", capsys
        )  # fmt: skip
        for name, value in numbers(one[0]).items():
            assert other[0][name] == pytest.approx(value, abs=1e-6), name

    def test_a_folder_for_each_identity(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = "people --model verified_models:build --count 60 --folds 3"
        one, again, other = (found(f"{words} {more}", capsys)[0] for more in ("", "--seed 0", "--seed 1"))
        assert one == again
        assert one["thresholds"] != other["thresholds"]
        assert (one["same"], one["folds"]) == (30, 3)
        assert found("people --model verified_models:build --count 200 --folds 10 --shared", capsys)[0]["same"] == 100

    def test_parquet_files_are_the_same_as_folders(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # The folders in the order in which they are read: P0, P1, P10, P11, P2, ...
        files = [file for person in sorted(Path("people").iterdir()) for file in sorted(person.iterdir())]
        labels = [number for number in range(12) for _ in range(5)]
        cells = [{"bytes": file.read_bytes(), "path": None} for file in files]
        pq.write_table(pa.table({"image": cells, "label": labels}), tmp_path / "test-0.parquet")
        words = "--model verified_models:build --count 60 --folds 3"
        one, other = (found(f"{where} {words}", capsys)[0] for where in ("people", tmp_path))
        assert numbers(one) == numbers(other)
        (tmp_path / "test-0.parquet").rename(tmp_path / "train-0.parquet")
        assert run(f"{tmp_path} {words}") == 2
        assert "no file test-*.parquet" in capsys.readouterr().err

    def test_weights_are_loaded(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        namespace: dict[str, Any] = {}
        exec(MODEL, namespace)
        model: nn.Module = namespace["build"]()
        torch.save(model.state_dict(), tmp_path / "same.pt")
        nn.init.normal_(model.get_parameter("body.2.weight"), std=0.1)
        torch.save(model.state_dict(), tmp_path / "other.pt")
        torch.save({"body.2.bias": torch.zeros(8)}, tmp_path / "part.pt")
        words = f"set.bin --model verified_models:build --folds {FOLDS}"
        plain = found(words, capsys)
        assert found(f"{words} --weights {tmp_path}/same.pt", capsys) == plain
        assert found(f"{words} --weights {tmp_path}/other.pt", capsys)[0]["thresholds"] != plain[0]["thresholds"]
        assert run(f"{words} --weights {tmp_path}/part.pt") == 2
        assert "does not fit the model: Missing key" in capsys.readouterr().err
        assert run(f"{words} --weights nowhere.pt") == 2
        assert "there is no file nowhere.pt" in capsys.readouterr().err

    def test_colours_size_mean_and_deviation(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seen: list[torch.Tensor] = []

        def look(images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.flatten(1)

        model = nn.Flatten()
        monkeypatch.setattr(model, "forward", look)
        monkeypatch.setattr("onsphere.cli.verify.model.made", lambda what: model)
        words = f"set.bin --model verified_models:build --folds {FOLDS} --flip none --batch 100 --mean 0 --std 1"
        pixels = torch.tensor(np.stack([_pixels(image) for image in verification.read_bin("set.bin").images]))
        rgb = pixels.permute(0, 3, 1, 2).float()
        found(words, capsys)
        assert torch.equal(seen[-1], rgb)
        found(f"{words} --colours bgr", capsys)
        assert torch.equal(seen[-1], rgb[:, [2, 1, 0]])
        found(f"{words} --colours grey", capsys)
        grey = np.stack([np.array(Image.fromarray(each.numpy()).convert("L")) for each in pixels])
        assert (seen[-1][:, 0] - torch.tensor(grey).float()).abs().max() <= 1  # Pillow rounds in its own way
        found(f"{words} --size 4", capsys)
        assert seen[-1].shape[1:] == (3, 4, 4)
        found(f"{words} --size 8 4", capsys)
        assert torch.equal(seen[-1], rgb[:, :, :, 1:5])  # the middle, not resized
        found(f"{words.replace('--mean 0 --std 1', '--mean 1 2 3 --std 2 4 8')}", capsys)
        assert torch.equal(seen[-1][:, 2], (rgb[:, 2] - 3) / 8)

    def test_images_of_several_sizes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        images = [_png(np.full((8, 6 + (i == 3), 3), 30 * i + 9, np.uint8)) for i in range(8)]
        verification.write_bin(tmp_path / "sizes.bin", images, [True, False] * 2)
        words = f"{tmp_path}/sizes.bin --model verified_models:build --folds 2"
        assert run(words) == 2
        assert "image 3 is 8 x 7 pixels and the first image 8 x 6: give --size" in capsys.readouterr().err
        assert run(f"{words} --size 8 6") == 0

    def test_a_damaged_image_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        images = verification.read_bin("set.bin").images
        verification.write_bin(tmp_path / "bad.bin", [images[0], b"no image", *images[2:8]], [True, False] * 2)
        assert run(f"{tmp_path}/bad.bin --model verified_models:build --folds 2 --size 8 6") == 2
        assert f"{tmp_path}/bad.bin, image 1: the image cannot be decoded" in capsys.readouterr().err

    def test_a_set_that_would_run_code(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        class Attack:
            def __reduce__(self) -> Any:
                return exec, ("open('pwned', 'w')",)

        (tmp_path / "evil.bin").write_bytes(pickle.dumps(([b"a", Attack()], [True])))
        assert run(f"{tmp_path}/evil.bin --model verified_models:build") == 2
        assert "evil.bin is refused: it asks for builtins.exec" in capsys.readouterr().err
        assert not Path("pwned").exists()

    def test_interrupted_sets_that_are_finished_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez("first.npz", features=np.random.default_rng(0).standard_normal((40, 3)), labels=np.arange(40) // 5)
        assert run("first.npz set.bin --model verified_models:interrupted --count 12 --folds 2") == 130
        said = capsys.readouterr()
        assert "first" in said.out
        assert "interrupted; 1 of 2 sets are finished" in said.err
        assert run("set.bin --model verified_models:interrupted") == 130


class TestFeatures:
    rng = np.random.default_rng(1)
    people = rng.standard_normal((12, 16))
    features = np.repeat(people, 5, 0) + rng.standard_normal((60, 16))
    labels = np.arange(60) // 5

    def test_with_labels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez(tmp_path / "f.npz", features=self.features, labels=self.labels)
        (result,) = found(f"--features {tmp_path}/f.npz --count 80 --folds 4 --seed 3 --far 0.05", capsys)
        pairs = verification.random_pairs(self.labels, 80, 4, 3)
        expected = verification.verify(verification.scores(self.features, pairs), pairs, far=[0.05])
        assert result["verification"] == 100 * expected.accuracy
        assert result["thresholds"] == expected.thresholds.tolist()
        assert result["tar_at_far_0.05"] == 100 * expected.tar_at_far[0.05]
        assert "tar_at_far_0.1" not in result

    def test_given_pairs_in_all_forms_are_the_same(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        named = verification.read_pairs("pairs.txt")
        x = self.rng.standard_normal((len(named.images), 6)).astype(np.float32)
        pairs = named.pairs
        twice = np.empty((2 * len(pairs), 6), np.float32)
        twice[::2], twice[1::2] = x[pairs.first], x[pairs.second]
        order = self.rng.permutation(len(x))
        names = np.array([f"{named.images[i][0]}/{named.names[i]}.png" for i in order])
        (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
        np.save(tmp_path / "rows.npy", x)
        np.save(tmp_path / "twice.npy", twice)
        np.save(tmp_path / "mixed.npy", x[order])
        np.savez(tmp_path / "names.npz", features=x[order], names=names)
        np.savez(tmp_path / "rows.npz", features=x, same=pairs.same, first=pairs.first, second=pairs.second,
                 fold=pairs.fold)  # fmt: skip
        np.savez(tmp_path / "two.npz", features=twice, same=pairs.same)
        (expected,) = found(f"--features {tmp_path}/rows.npy --pairs pairs.txt", capsys)
        assert expected["folds"] == FOLDS
        for words in (
            "twice.npy --pairs pairs.txt",
            f"mixed.npy --pairs pairs.txt --names {tmp_path}/names.txt",
            "names.npz --pairs pairs.txt",
            "rows.npz",
            f"rows.npz --folds {FOLDS}",
            f"two.npz --folds {FOLDS}",
        ):
            (result,) = found(f"--features {tmp_path}/{words}", capsys)
            assert numbers(result) == numbers(expected), words

    def test_those_of_mirror_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        flipped = self.rng.standard_normal(self.features.shape)
        np.savez(tmp_path / "f.npz", features=self.features, flipped=flipped, labels=self.labels)
        pairs = verification.random_pairs(self.labels, 80, 4)
        for flip in ("concatenate", "sum", "none"):
            (result,) = found(f"{tmp_path}/f.npz --count 80 --folds 4 --flip {flip}", capsys)
            assert result["flip"] == flip
            combine: Any = {"none": "sum"}.get(flip, flip)
            scores = verification.scores(self.features, pairs, None if flip == "none" else flipped, combine)
            assert result["thresholds"] == verification.verify(scores, pairs).thresholds.tolist()

    def test_several_make_one_table_and_one_figure(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez(tmp_path / "one.npz", features=self.features, labels=self.labels)
        np.savez(tmp_path / "other.npz", features=self.features[:, :4], labels=self.labels)
        words = f"{tmp_path}/one.npz --features {tmp_path}/other.npz --count 80 --folds 4 --roc {tmp_path}/roc"
        assert run(f"{words}.svg") == 0
        head, _, one, other, *notes = capsys.readouterr().out.splitlines()
        for title in ("set", "pairs", "accuracy, %", "threshold", "EER, %", "AUC, %", "TAR @ 0.1", "TAR @ 0.001"):
            assert title in head
        assert (one.split()[:2], other.split()[:2]) == (["one", "80"], ["other", "80"])
        assert float(one.split()[2]) > float(other.split()[2])
        assert any("with 40 pairs of different identities a false accept rate of 0.01, 0.001" in note for note in notes)
        picture = (tmp_path / "roc.svg").read_bytes()
        assert b"<svg" in picture
        assert run(f"{words}.svg") == 0
        assert (tmp_path / "roc.svg").read_bytes() == picture
        assert run(f"{words}.png") == 0
        assert Image.open(tmp_path / "roc.png").size[0] > 500

    def test_files_of_one_name_are_told_apart(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.savez(tmp_path / "rows.npz", features=self.features, labels=self.labels)
        sets = found(f"rows.npz {tmp_path}/rows.npz --count 80 --folds 4", capsys)
        assert [one["name"] for one in sets] == ["rows.npz", f"{tmp_path}/rows.npz"]
        assert [one["flip"] for one in sets] == ["none", "none"]

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"x": features}, 'expected an array "features"; there are: x'),
            ({"features": features}, "does not say which rows are compared"),
            ({"features": features, "labels": labels[:-1]}, '60 rows of features and 59 of "labels"'),
            ({"features": features, "labels": labels, "same": np.ones(30, bool)}, "there are both"),
            ({"features": features, "same": np.ones(29, bool)}, "29 pairs of|cannot be cut"),
            ({"features": features, "same": np.arange(40) % 2 == 0}, '60 rows of features and 40 of "same"'),
            ({"features": features, "same": np.arange(40) % 2 == 0, "first": np.arange(40)}, "together, or neither"),
            ({"features": features, "labels": labels * 1.0}, "labels of shape"),
            ({"features": np.zeros((60, 4)), "labels": labels}, "is zero and has no direction"),
            ({"features": np.full((60, 4), np.nan), "labels": labels}, "holds NaN or infinity"),
            ({"features": features, "labels": labels, "flipped": features[:4]}, "expected one shape"),
            ({"features": np.array([{}]), "labels": labels}, "without running code"),
        ],
    )
    def test_archives_that_do_not_work(
        self, arrays: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        np.savez(tmp_path / "f.npz", **arrays)
        assert run(f"{tmp_path}/f.npz --folds 4 {'' if 'same' in arrays else '--count 40'}") == 2
        said = capsys.readouterr().err
        assert said.startswith(f"onsphere: {tmp_path}/f.npz: ")
        assert any(each in said for each in words.split("|")), said

    def test_other_files_that_do_not_work(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        np.save(tmp_path / "f.npy", self.features)
        np.savez(tmp_path / "f.npz", features=self.features, labels=self.labels)
        (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
        (tmp_path / "broken.npy").write_bytes(b"not really")
        (tmp_path / "names.txt").write_text("P0_0001\n")
        (tmp_path / "bad.txt").write_text("1 1\nA 1 2\n")
        for words, expected in (
            ("f.npy", "f.npy: an array does not say which rows are compared: give --pairs"),
            ("f.npy --pairs pairs.txt", "60 rows of features and no names: expected "),
            (f"f.npy --pairs pairs.txt --names {tmp_path}/names.txt", "there are 1 names for 60 rows"),
            (f"f.npy --pairs {tmp_path}/bad.txt", "bad.txt, line 1: 1 x 2 x 1 = 2 pairs are announced"),
            ("f.npy --pairs nowhere.txt", "nowhere.txt: No such file"),
            ("f.npz --pairs pairs.txt", 'its own "labels": which one is meant?'),
            ("f.npz --count 4000 --folds 4", "fold 0, whose identities are its own, has 30 pairs"),
            ("broken.npz", "no archive of arrays"),
            ("broken.npy --pairs pairs.txt", "no array that NumPy saved"),
        ):
            assert run(f"{tmp_path}/{words}") == 2
            assert expected in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on noise, and what it leaves."""
    folder = tmp_path_factory.mktemp("run")
    words = ["orl-open-set", "--smoke", "--row", "cosface", "--seeds", "[3,4]", "--folder", str(folder / "run")]
    assert main(["train", *words]) == 0
    return folder / "run"


class TestRuns:
    def test_a_trained_model_looks_as_in_training(self, folder: Path) -> None:
        from onsphere.cli.verify import trained

        row = report.load(folder)["rows"][0]
        recipe = RECIPES["orl-open-set"].build(**{**row["settings"], "coefficient": None})
        data, model = recipe.data(), recipe.model()
        model.load_state_dict(load_file(folder / "weights" / "cosface-4.safetensors"))
        pixels = data.test.take(torch.arange(4))
        normalised = (pixels / 255 - torch.tensor(data.mean).view(1, -1, 1, 1)) / torch.tensor(data.std).view(
            1, -1, 1, 1
        )
        expected = model.eval().features(normalised).detach().numpy()
        found, look = trained.trained(folder, "cosface", 4)
        images = Images(pixels, torch.arange(4))
        features, _ = extract(found, images, mean=look.mean, std=look.std)
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)
        assert (look.colours, look.size) == ("grey", tuple(pixels.shape[2:]))
        other, _ = trained.trained(folder, "CosFace", None)  # the first seed, by the row's name in the table
        assert not torch.equal(other.classifier.weight, found.classifier.weight)
        assert torch.equal(
            other.classifier.weight.detach(),
            load_file(folder / "weights" / "cosface-3.safetensors")["classifier.weight"],
        )

    def test_its_features_are_verified(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = f"people --run {folder} --count 60 --folds 3"
        one, other = (found(f"{words} --run_seed {seed}", capsys)[0] for seed in (3, 4))
        assert one["same"] == 30
        assert one["thresholds"] != other["thresholds"]
        assert found(words, capsys)[0] == one

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("--row arcface", "has no row 'arcface'"),
            ("--run_seed 5", "has no seed 5 of CosFace; there are: 3, 4"),
        ],
    )
    def test_what_a_run_does_not_have(
        self, folder: Path, words: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(f"people --count 60 --folds 3 --run {folder} {words}") == 2
        assert said in capsys.readouterr().err

    def test_weights_that_were_not_kept(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "result.json").write_bytes((folder / "result.json").read_bytes())
        assert run(f"people --count 60 --folds 3 --run {tmp_path}") == 2
        assert f"there is no file {tmp_path}/weights/cosface-3.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to verify"),
        ("set.bin", "set.bin holds images: give --model"),
        ("nowhere.bin --model verified_models:build", "there is no file or folder nowhere.bin"),
        ("verified_models.py --model verified_models:build", "expected a set of images .bin, features .npz or .npy"),
        ("set.bin --modle x:y", "unknown argument '--modle'; did you mean --model"),
        ("set.bin --model nomodule:build", "cannot import 'nomodule'"),
        ("set.bin --model verified_models:buid", "'verified_models' has no 'buid'; did you mean build?"),
        ("set.bin --model verified_models:with_arguments", "name a function that takes none"),
        ("set.bin --model verified_models:weights", "gives weights alone"),
        ("set.bin --model model.pt", "--model model.pt: expected MODULE:FACTORY"),
        ("set.bin --model verified_models:build --colours grey", "the model fails on images of 1 x 8 x 6"),
        ("set.bin --model verified_models:build --pairs pairs.txt", "set.bin has its own pairs"),
        ("set.bin --model verified_models:build --folds 21", "cannot be cut into 21 folds"),
        ("set.bin --model verified_models:build --device nosuch", "--device nosuch:"),
        (
            "people --model verified_models:build",
            "folds of disjoint ones need at least 20; ask for fewer folds, or for --shared",
        ),
        (
            "people --model verified_models:build --folds 3",
            "fold 0, whose identities are its own, has 40 pairs of the same",
        ),
        (". --model verified_models:build --pairs pairs.txt", "images of the pairs are not in ."),
        ("set.bin --weights w.pt", "give --model"),
        ("set.bin --model verified_models:build --run runs", "--model and --run: which one is meant?"),
        ("set.bin --row arcface", "--row is of a run: give --run FOLDER"),
        ("set.bin --run nowhere", "no result at nowhere"),
        ("rows.npz --model verified_models:build", "--model is about images, and only features are given"),
        ("rows.npz --size 4", "--size is about images, and only features are given"),
        ("rows.npz --count 40", "--count is for pairs that are drawn, and all sets say which they compare"),
        ("rows.npz --shared", "--shared is for pairs that are drawn"),
        ("rows.npz --flip sum", "--flip sum: rows.npz has no features of mirror images"),
        ("--features set.bin", "--features set.bin: expected an .npz or .npy file"),
        ("x.npz --names n.txt", "it needs --pairs"),
        ("set.bin --batch 0", "--batch must be at least 1, got 0"),
        ("set.bin --folds 1", "--folds must be at least 2, got 1"),
        ("set.bin --seed -1", "--seed must be at least 0, got -1"),
        ("set.bin --far 0.1 2", "--far 2: expected rates above 0, at most 1"),
        ("set.bin --size 1 2 3", "--size 1 2 3: expected height and width"),
        ("set.bin --mean 1 2 --model verified_models:build", "--mean: expected one number, or 3, got 2"),
        ("set.bin --std 0 --model verified_models:build", "std=[0.0]: expected no zero"),
        ("set.bin --roc roc.pdf", "ends in .svg or .png"),
        ("set.bin --roc nowhere/roc.svg", "there is no folder nowhere"),
        ("set.bin --flip mean", "invalid choice: 'mean'"),
    ],
)
def test_what_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_the_help_has_every_option_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    said = capsys.readouterr().out
    assert "onsphere verify lfw.bin" in said
    assert all(f"--{name}" in said for name in ("features", "pairs", "model", "weights", "flip", "far", "json", "roc"))
