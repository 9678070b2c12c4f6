"""Random changes of all images that the critic sees: their effect, their gradients, and who is refused."""

import pytest
import torch
from test_fast import trainer_with

from wgangp.augmentation import CHANGES, augmented, check_augmentation, color, cutout, translation
from wgangp.speed import gradients

SIZE = (3, 16, 24)


def shifted(x, by, axis):
    """Zeros come in."""
    moved, size = torch.roll(x, by, axis), x.shape[axis]
    moved.narrow(axis, 0 if by > 0 else size + by, abs(by)).zero_()
    return moved


def test_translation_moves_each_image_by_whole_pixels_up_to_an_eighth():
    torch.manual_seed(0)
    x = torch.randn(400, *SIZE)
    offsets = []
    for image, moved in zip(x, translation(x), strict=True):
        candidates = [(i, j) for i in range(-2, 3) for j in range(-3, 4)]
        offsets += [o for o in candidates if torch.equal(shifted(shifted(image, o[0], 1), o[1], 2), moved)]
    assert len(offsets) == 400
    assert len(set(offsets)) == 5 * 7


def test_cutout_hides_a_rectangle_of_half_the_sides():
    torch.manual_seed(0)
    hidden = cutout(torch.ones(500, *SIZE)) == 0
    assert (hidden == hidden[:, :1]).all()  # of all channels
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), rows * columns)  # a rectangle
    assert (rows.max(), columns.max()) == (8, 12)
    assert rows.min() >= 4  # half of it is outside at most
    assert columns.min() >= 6


def test_color_changes_brightness_saturation_and_contrast_alone():
    torch.manual_seed(0)
    grey = torch.full((300, *SIZE), 0.2)
    after = color(grey)
    assert (after == after[:, :1, :1, :1]).all()
    assert 0.45 < (after - grey).abs().max() <= 0.5
    x = torch.randn(300, *SIZE, dtype=torch.float64)
    before, after = ((t - t.mean((1, 2, 3), keepdim=True)) for t in (x, color(x)))
    grey_before, grey_after = before.mean(1), after.mean(1)
    contrast = grey_after.norm(dim=(1, 2)) / grey_before.norm(dim=(1, 2))
    assert torch.allclose(grey_after, contrast[:, None, None] * grey_before)
    assert 0.5 <= contrast.min() < 0.55
    assert 1.45 < contrast.max() <= 1.5
    hue_before, hue_after = before - before.mean(1, keepdim=True), after - after.mean(1, keepdim=True)
    saturation = hue_after.flatten(1).norm(dim=1) / hue_before.flatten(1).norm(dim=1) / contrast
    assert saturation.min() < 0.1
    assert 1.9 < saturation.max() <= 2


@pytest.mark.parametrize("names", [["translation"], ["cutout"], list(CHANGES)])
def test_both_networks_learn_from_the_changed_images(names):
    """The gradients are the textbook's, of changed images."""
    trainer = trainer_with("dcgan", augment=names)
    seen = []
    trainer.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    torch.manual_seed(3)
    z = trainer.noise(8)
    torch.manual_seed(4)
    real, y = trainer.dataset.batch(0, 8)
    fake = trainer.generator(z).detach()
    loss, _ = trainer.critic_loss(trainer.critic, real, fake, y, penalised=True)
    torch.manual_seed(4)
    real, fake = augmented(real, names), augmented(fake, names)
    assert torch.equal(seen[0], torch.cat([real, fake]))
    x = (real + torch.rand(8, 1, 1, 1) * (fake - real)).requires_grad_()
    (grad,) = torch.autograd.grad(trainer.critic(x).sum(), x)
    penalty = 10 * (grad.flatten(1).norm(dim=1) - 1).square().mean()
    textbook = trainer.critic(fake).mean() - trainer.critic(real).mean() + penalty
    torch.testing.assert_close(loss, textbook)

    y = trainer.labels(8)
    torch.manual_seed(5)
    found, _ = trainer.generator_gradients(z, y)
    torch.manual_seed(5)
    loss = -trainer.critic(augmented(trainer.generator(z), names)).mean()
    torch.testing.assert_close(list(found), list(torch.autograd.grad(loss, trainer.generator_params)))


def test_compiled_changes_are_the_eager_ones(caplog):
    eager, compiled = (trainer_with("dcgan", augment=list(CHANGES), compile=c) for c in (False, True))
    assert "this run is not compiled" not in caplog.text
    found = (gradients(t, *t.functions[:2]) for t in (eager, compiled))
    for a, b in zip(*([g for of_call in each for g in of_call] for each in found), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("augment=cutout", "augment=cutout: give a list of names, as in augment=[cutout]"),
        ("augment=[flip]", "augment=flip: choose from color, cutout, translation"),
        ("augment=[cutout]", "augment changes images, and the samples are of shape (2,): set augment=[]"),
    ],
)
def test_what_cannot_be_changed_is_told_in_a_line(argument, message, call):
    code, text = call("train", argument, "steps=1")
    assert code != 0
    assert text.strip().splitlines()[-1].endswith(message)


def test_pictures_as_conditions_stay_beside_their_samples():
    with pytest.raises(ValueError, match="away from the pictures that they belong to"):
        check_augmentation(["translation"], (3, 8, 8), (1, 4, 4))
