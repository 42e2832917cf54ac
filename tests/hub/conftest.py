"""A finished run, and a hub on loopback with a user whose token is set."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from hub_server import HubServer, use_endpoint


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_towers: str, tiny_pairs: Path) -> Path:
    """A run of speech and text, trained for four steps and evaluated."""
    from xmodal.config.load import load_config
    from xmodal.training.trainer import Trainer

    folder = tmp_path_factory.mktemp("finished")
    config = folder / "config.yaml"
    config.write_text(
        f"""
output: {folder / "run"}
data: {{train: {tiny_pairs / "train.jsonl"}, buckets: 2}}
{tiny_towers}
objective: {{kind: cwcl}}
train: {{steps: 4, batch_size: 10, threads: 1}}
evaluators:
  held:
    {{kind: speech_intent, test: {tiny_pairs / "test.jsonl"}, examples: {tiny_pairs / "examples.jsonl"},
      prompts: plain, synthetic: true}}
"""
    )
    Trainer(load_config(config)).fit()
    return folder / "run"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub of its own, an empty cache, and jo's token."""
    with HubServer() as server:
        use_endpoint(monkeypatch, server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)  # another protocol, to other hosts
        monkeypatch.setenv("HF_TOKEN", "token-of-jo")
        yield server
