"""Figure 1.1: an autoencoder read by angles and by norms, from the network to the picture."""

from __future__ import annotations

import base64
import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("lightning")

from onsphere import models
from onsphere.layers import Decoupled
from onsphere.recipes import RECIPES, compare
from onsphere.recipes.image_sets import MNIST
from onsphere.recipes.reconstruction import correlation, mnist_reconstruction, readings
from onsphere.report import markdown, write_html, write_reconstructions
from onsphere.report.__main__ import main
from onsphere.report.reconstruction import images_of
from onsphere.train import run

ENTRY = RECIPES["mnist-reconstruction"]
DATA = MNIST.load("noise", 40, 20)


# ------------------------------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("size", [5, 8, 27, 28, 33])
@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 8)])
def test_images_of_any_size_come_back_in_their_size(size: int, widths: tuple[int, ...]) -> None:
    model = models.conv_autoencoder(widths, latent=3, in_channels=2, image_size=size)
    assert model(torch.zeros(2, 2, size, size)).shape == (2, 2, size, size)
    side = math.ceil(size / 2 ** (len(widths) + 1))
    assert model.latent(model.encoder(torch.zeros(2, 2, size, size))).shape == (2, 3, side, side)


def test_the_autoencoder_has_the_parameters_of_its_description() -> None:
    down = 9 * 16 + 16 + 9 * 16 * 32 + 32 + 9 * 32 * 16
    up = 9 * 16 * 32 + 32 + 9 * 32 * 16 + 16 + 9 * 16 + 1
    assert sum(p.numel() for p in models.conv_autoencoder().parameters()) == down + up


def test_with_labels_the_squared_error_comes_out() -> None:
    torch.manual_seed(0)
    model, images = models.conv_autoencoder((4,), latent=2), torch.randn(3, 1, 28, 28)
    loss = model(images, torch.zeros(3))
    assert loss.item() == pytest.approx((model(images) - images).square().mean().item())
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(("settings", "message"), [({"widths": ()}, "widths"), ({"latent": 0}, "latent=0")])
def test_wrong_sizes_of_the_autoencoder_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.conv_autoencoder(**settings)


# ------------------------------------------------------------------------------------------------------- the readings


def patches(model: models.Autoencoder) -> tuple[Tensor, Tensor]:
    """What the latent layer reads of the training images, a patch a column, and its filters: (N, d, places), (K, d)."""
    x = F.unfold(model.encoder(one_batch()), 3, stride=2, padding=1)
    weight = model.latent.weight
    assert isinstance(weight, Tensor)
    return x.detach().double(), weight.detach().double().flatten(1)


def test_the_latent_layer_gives_angles_or_norms_of_one_overall_size() -> None:
    torch.manual_seed(0)
    model = models.conv_autoencoder((4, 6), latent=5)
    x, weight = patches(model)
    product = weight @ x
    norms = weight.norm(dim=1)[:, None] * x.norm(dim=1, keepdim=True)
    expected = {"inner product": product, "angles": product / norms, "norms": norms}
    size = product.square().mean().sqrt()
    found = readings(model, DATA)
    assert list(found) == ["inner product", "angles", "norms"]
    for name, one in found.items():
        values = expected[name] * size / expected[name].square().mean().sqrt()
        outputs: list[Tensor] = []
        one.latent.register_forward_hook(lambda _, __, out, outputs=outputs: outputs.append(out.detach()))
        one(one_batch())
        assert torch.allclose(outputs[0].flatten(2).double(), values, rtol=1e-3, atol=1e-4), name


def one_batch() -> Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (DATA.mean, DATA.std))
    return (DATA.train.take(torch.arange(40)) / 255 - mean) / std


def test_the_readings_leave_the_model_as_it_is_and_share_its_weights_values() -> None:
    model = models.conv_autoencoder((4,), latent=2)
    before = copy.deepcopy(model.state_dict())
    found = readings(model, DATA)
    assert type(model.latent) is nn.Conv2d
    for one in found.values():
        assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert [isinstance(one.latent, Decoupled) for one in found.values()] == [False, True, True]


def test_brightness_changes_norms_and_no_angle() -> None:
    torch.manual_seed(0)
    model = models.conv_autoencoder((4,), latent=3)
    found = readings(model, DATA)
    x = torch.rand(2, 4, 14, 14)
    assert torch.allclose(found["angles"].latent(x), found["angles"].latent(3 * x), atol=1e-3)
    assert torch.allclose(3 * found["norms"].latent(x), found["norms"].latent(3 * x), rtol=1e-3)
    negative = found["norms"].latent(-x)
    assert torch.allclose(found["norms"].latent(x), negative)
    assert (negative > 0).all()


def test_correlation_is_that_of_pixels() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    expected = [torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] for x, y in zip(a, b, strict=True)]
    assert torch.allclose(correlation(a, b), torch.stack(expected), atol=1e-6)
    assert torch.allclose(correlation(a, 2 * a + 1), torch.ones(3))
    assert correlation(a, torch.ones_like(a)).tolist() == [0, 0, 0]


# --------------------------------------------------------------------------------------------------------- the recipe


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A smoke run, as its file has it."""
    folder = tmp_path_factory.mktemp("run")
    run(compare(ENTRY, **ENTRY.smoke), seeds=[1], accelerator="cpu", measure=False, threads=1, folder=folder)
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_the_result_has_three_correlations_and_no_accuracy(result: dict[str, Any]) -> None:
    seed = result["rows"][0]["seeds"][0]
    of = ("inner_product", "angles", "norms")
    assert {*seed["final"]} == {"test_loss", *(f"{key}_{name}" for key in ("correlation", "mse") for name in of)}
    assert result["metric"] == "correlation_angles"
    assert all(-1 <= seed["final"][f"correlation_{name}"] <= 1 for name in of)
    table = markdown(result)
    assert "Correlation" in table
    assert "Top-1" not in table


def test_the_record_holds_the_first_test_image_of_every_digit(result: dict[str, Any]) -> None:
    record = result["rows"][0]["seeds"][0]["end"]["reconstructions"]
    assert [*record["images"]] == ["original", "inner product", "angles", "norms"]
    noise = MNIST.load("noise", 20, 20)
    firsts = [int((noise.test.labels == label).nonzero()[0]) for label in noise.test.labels.unique().tolist()]
    original = torch.from_numpy(images_of(record)["original"].copy())
    assert (original.int() - noise.test.take(torch.tensor(firsts))[:, 0].int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"coefficient": 0.1}, "coefficient=0.1"), ({"row": "vae"}, "row='vae'"), ({"steps": 0}, "steps=0")],
)
def test_wrong_settings_of_the_recipe_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mnist_reconstruction("noise", **settings)


# -------------------------------------------------------------------------------------------------------- the picture


def test_the_picture_is_drawn_from_the_result_alone(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        write_reconstructions(result, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    other = copy.deepcopy(result)
    images = other["rows"][0]["seeds"][0]["end"]["reconstructions"]["images"]
    images["norms"], images["angles"] = images["angles"], images["norms"]
    write_reconstructions(other, tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_bytes() != (tmp_path / "a.svg").read_bytes()
    write_html(result, tmp_path / "page.html")
    assert "Rebuilt images" in (tmp_path / "page.html").read_text()
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main(["--reconstructions", str(tmp_path), str(tmp_path / "d.svg")]) == 0
    assert (tmp_path / "d.svg").read_bytes() == (tmp_path / "a.svg").read_bytes()
    assert main(["--reconstructions", str(tmp_path / "none"), str(tmp_path / "e.svg")]) == 2
    assert "no result at" in capsys.readouterr().err


def test_a_result_without_rebuilt_images_and_a_damaged_one_are_told(result: dict[str, Any], tmp_path: Path) -> None:
    other = copy.deepcopy(result)
    end = other["rows"][0]["seeds"][0]["end"]
    end["reconstructions"]["images"]["angles"] = base64.b64encode(b"123").decode()
    with pytest.raises(ValueError, match="the record of images 'angles' is damaged"):
        write_reconstructions(other, tmp_path / "a.svg")
    end.clear()
    with pytest.raises(ValueError, match="holds no rebuilt images"):
        write_reconstructions(other, tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_colours_are_the_last_axis_of_a_picture() -> None:
    record = {"shape": [1, 3, 1, 2], "images": {"original": base64.b64encode(bytes(range(6))).decode()}}
    assert images_of(record)["original"].tolist() == [[[[0, 2, 4], [1, 3, 5]]]]
