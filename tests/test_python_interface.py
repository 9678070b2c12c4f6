"""The Python interface refuses what it would ignore."""

import pytest

import wgangp

SMALL = ("steps=1", "compile=false", "batch_size=8", "generator.width=4", "critic.width=4", "evaluation_samples=20")


@pytest.mark.parametrize("config", [(["dataset=gaussians8", "steps=1"],), ({"steps": 1},), ("steps=1", {"seed": 1})])
def test_what_is_no_override_and_no_configuration_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match="give overrides as strings"):
        wgangp.train(*config, run_dir=tmp_path / "run")


def test_runs_are_filed_by_their_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = wgangp.train("sweep=seeds", "dataset=gaussians8", *SMALL)
    assert run.path.parts[-3:-1] == ("outputs", "gaussians8") and run.record.choices["penalty"] == "wgan_gp_toy"
    assert wgangp.train(wgangp.load_config("dataset=gaussians8", *SMALL)).path.parts[-2] == "run"
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": \xff}\n{"step": 2}}\n')
    assert len(run.metrics()) == 1
    with pytest.raises(ValueError, match="n=0: give a whole number"):
        run.samples(0)
    with pytest.raises(ValueError, match="batchnorm=foo: choose batch, running, standing"):
        run.generator(batchnorm="foo")


def test_a_trainer_takes_a_dataset_without_an_end():
    dataset = wgangp.make_trainer("dataset=gaussians8", *SMALL).dataset
    assert wgangp.make_trainer("dataset=gaussians8", *SMALL, dataset=dataset).dataset is dataset
