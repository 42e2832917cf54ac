"""Other wordings of texts: each step measured, or against a loop written from its description."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from processors import Names
from pydantic import ValidationError
from scipy import stats
from torch.utils.data import DataLoader

from xmodal.config.augment.text import TextAugment
from xmodal.config.data import DataSpec, TextModality
from xmodal.data.dataset import PairDataset
from xmodal.data.sampler import BatchKey, BucketSampler
from xmodal.data.views.text import Rewording, read_synonyms
from xmodal.errors import UserError
from xmodal.files import write_json_lines
from xmodal.store import content_id

TEXT = "turn on the lights in the living room"
WORDS = TEXT.split()


def views(count=400, text=TEXT, table=None, mask=None, others=(), **spec):
    reword = Rewording(TextAugment(**spec), table or {}, mask)
    return [reword(text, np.random.default_rng((7, n)), others) for n in range(count)]


def is_subsequence(words, of):
    left = iter(of)
    return all(word in left for word in words)


def test_nothing_set_changes_nothing():
    assert not TextAugment().is_active
    assert set(views(3, "  two  spaces ")) == {"  two  spaces "}
    assert set(views(3, "   ", word_dropout=0.5, span_masks=1, span_as="nothing", word_swap=0.5)) == {"   "}


def test_words_are_left_out_with_their_probability_and_one_stays():
    found = [view.split() for view in views(word_dropout=0.3)]
    assert all(is_subsequence(words, WORDS) for words in found)
    gone = sum(len(WORDS) - len(words) for words in found)
    assert stats.binomtest(gone, len(WORDS) * len(found), 0.3).pvalue > 0.01
    alone = Counter(views(word_dropout=1.0))
    assert set(alone) == set(WORDS)  # of a text that would lose all, any one
    assert set(views(20, "stop", word_dropout=1.0)) == {"stop"}


def test_swaps_move_words_and_lose_none():
    found = [view.split() for view in views(word_swap=0.1)]
    assert all(sorted(words) == sorted(WORDS) for words in found)
    moved = [[at for at, (a, b) in enumerate(zip(words, WORDS, strict=True)) if a != b] for words in found]
    assert {len(places) for places in moved} <= {0, 2}  # one swap of 8 words at 0.1; 0 where both are "the"
    pairs = Counter(tuple(places) for places in moved if places)
    assert len(pairs) == 8 * 7 // 2 - 1
    assert set(views(20, "stop", word_swap=1.0)) == {"stop"}


def test_a_span_becomes_one_mask_or_nothing():
    found = [view.split() for view in views(span_masks=1, span_share=0.4, mask="[MASK]")]
    lengths = Counter()
    for words in found:
        at = words.index("[MASK]")
        after = len(words) - at - 1
        assert words[:at] == WORDS[:at]
        assert words[at + 1 :] == (WORDS[-after:] if after else [])
        lengths[len(WORDS) - len(words) + 1] += 1
    assert set(lengths) == {1, 2, 3}  # 0.4 of 8 words
    assert stats.chisquare(list(lengths.values())).pvalue > 0.01
    removed = [view.split() for view in views(span_masks=2, span_share=0.4, span_as="nothing")]
    assert all(is_subsequence(words, WORDS) and len(words) < len(WORDS) for words in removed)
    assert set(views(20, "stop it", span_masks=5, span_share=1.0, span_as="nothing")) == {"stop", "it"}
    assert set(views(20, "stop", span_masks=2, mask="[MASK]")) == {"stop"}  # one word is always left
    assert set(views(40, "stop it", span_masks=3, span_share=1.0, mask="[M]")) == {"stop [M]", "[M] it"}
    with pytest.raises(ValueError, match="no mask token was given"):
        views(1, span_masks=1)


def test_synonyms_keep_upper_case_and_punctuation(tmp_path: Path):
    path = tmp_path / "s.yaml"
    path.write_text("lights: [lamps, the lamp]\nOn: 'off'\n")
    assert read_synonyms(path) == {"lights": ("lamps", "the lamp"), "on": ("off",)}
    (tmp_path / "s.tsv").write_text("lights\tlamps\tthe lamp\n\non\toff\n")
    assert read_synonyms(tmp_path / "s.tsv") == read_synonyms(path)
    table = read_synonyms(path)
    found = Counter(views(400, '"Lights", (on) now!', table, synonyms=path, synonym=0.5))
    assert set(found) == {f'"{a}", ({b}) now!' for a in ("Lights", "Lamps", "The lamp") for b in ("on", "off")}
    replaced = sum(count for view, count in found.items() if "Lights" not in view)
    assert stats.binomtest(replaced, 400, 0.5).pvalue > 0.01
    assert set(views(5, TEXT, table, synonyms=path, synonym=0.0)) == {TEXT}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.yaml", None, "a.yaml: no such file"),
        ("a.tsv", None, "a.tsv: no such file"),
        ("a.yaml", "[on]", "a.yaml: found a list, expected a mapping"),
        ("a.yaml", "", "a.yaml: empty, expected a table of synonyms"),
        ("a.tsv", "\n", "a.tsv: empty, expected a table of synonyms"),
        ("a.yaml", "one: 1", "'one': found 1, expected text; put quotes around numbers"),
        ("a.yaml", "one: []", "'one' has no synonym"),
        ("a.tsv", "one\ttwo\nthree", "line 2: 'three' has no synonym"),
        ("a.tsv", "one\t ", "line 1: 'one' has an empty synonym"),
        ("a.yaml", "living room: lounge", "'living room' is not one word"),
        ("a.yaml", "on: x\nOn: y", "'On' is given twice"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, name, content, told):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_synonyms(tmp_path / name)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_mean_nothing():
    with pytest.raises(ValidationError, match=r"synonym 0\.3: there are none; set synonyms beside it"):
        TextAugment(synonym=0.3)
    with pytest.raises(ValidationError, match="captions made from templates have none"):
        TextModality(templates="digits", augment={"alternatives": "german"})
    assert TextAugment.model_validate(TextAugment(word_dropout=0.1).model_dump(mode="json")).word_dropout == 0.1


@pytest.fixture
def manifest(tmp_path: Path):
    rows = [{"id": f"p{n}", "text": f"say {n} now", "back": [f"tell {n}", f"speak {n}"]} for n in range(10)]
    rows[3]["back"] = "one 3"  # a string is one wording, null or blank none
    rows[4]["back"] = None
    rows[5]["back"] = [None, " "]
    write_json_lines(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def build(path, train=True, views=1, processor=None, **augment):
    spec = TextModality(augment=TextAugment(**augment), training_views=views)
    return PairDataset(DataSpec(train=path), {"text": spec}, {"text": processor or Names()}, 3, train)


def test_another_wording_of_the_row_takes_the_texts_place(manifest):
    dataset = build(manifest, alternatives="back", alternative=0.5)
    assert "text: 2 of 10 rows have no other wording" in dataset.tally.notes
    seen = {n: Counter() for n in (2, 3, 4, 5)}
    for epoch in range(300):
        batch = dataset[BatchKey(epoch, np.array([2, 3, 4, 5]))]
        assert batch.item_ids["text"].tolist() == [content_id(f"say {n} now") for n in (2, 3, 4, 5)]
        for row, n in enumerate((2, 3, 4, 5)):
            seen[n][int(batch.inputs["text"]["ids"][row, 0])] += 1
    assert set(seen[2]) == {content_id(text) for text in ("say 2 now", "tell 2", "speak 2")}
    assert (
        stats.chisquare([seen[2][content_id(t)] for t in ("say 2 now", "tell 2", "speak 2")], [150, 75, 75]).pvalue
        > 0.01
    )
    assert set(seen[3]) == {content_id("say 3 now"), content_id("one 3")}
    for n in (4, 5):
        assert set(seen[n]) == {content_id(f"say {n} now")}
    plain = build(manifest, train=False, alternatives="back")[BatchKey(0, np.array([2]))]
    assert plain.inputs["text"]["ids"].item() == content_id("say 2 now")
    with pytest.raises(UserError, match=r"missing column 'bak' \(did you mean 'back'\?\)"):
        build(manifest, alternatives="bak")


def test_a_column_of_other_wordings_of_another_type(tmp_path: Path):
    write_json_lines(tmp_path / "m.jsonl", [{"id": "a", "text": "one", "back": 1}])
    with pytest.raises(UserError, match="column 'back' holds int64 values, expected texts, or lists of texts"):
        build(tmp_path / "m.jsonl", alternatives="back")


def test_each_view_is_a_function_of_seed_epoch_row_side_and_view(manifest):
    spec = TextAugment(alternatives="back", word_dropout=0.4, word_swap=0.3)
    dataset = build(manifest, views=2, **spec.model_dump(exclude_defaults=True))
    batch = dataset[BatchKey(1, np.array([2, 7]))]
    for row, n in enumerate((2, 7)):
        for view, key in enumerate([(3, 1, n, 0), (3, 1, n, 0, 1)]):
            rng = np.random.default_rng(key)
            want = Rewording(spec)(f"say {n} now", rng, [f"tell {n}", f"speak {n}"])
            assert int(batch.view("text", view)["ids"][row, 0]) == content_id(want)

    def batches(step, rank=0, world=1, workers=0):
        sampler = BucketSampler(dataset.lengths, 4, 3, 2, rank, world)
        loader = DataLoader(dataset, sampler=sampler.iterate_from(step), batch_size=None, num_workers=workers)
        return [batch for batch, _ in zip(loader, range(4 - step), strict=False)]

    def ids(batch):
        return [batch.view("text", view)["ids"][:, 0].tolist() for view in range(2)]

    whole = batches(0)
    assert [ids(batch) for batch in whole[2:]] == [ids(batch) for batch in batches(2, workers=2)]
    for batch, one, two in zip(whole, batches(0, 0, 2), batches(0, 1, 2), strict=True):
        assert ids(batch) == [a + b for a, b in zip(ids(one), ids(two), strict=True)]


def test_hidden_spans_need_a_mask_token(manifest):
    with pytest.raises(
        UserError, match=r"has no mask token; leave .* data\.modalities\.text\.augment\.span_as=nothing"
    ):
        build(manifest, span_masks=1)
    build(manifest, span_masks=1, span_as="nothing")
    masked = Names()
    masked.mask_token = "<mask>"
    found = build(manifest, processor=masked, span_masks=1, span_share=0.0001)[BatchKey(0, np.array([2]))]
    hidden = {content_id(text) for text in ("<mask> 2 now", "say <mask> now", "say 2 <mask>")}
    assert int(found.inputs["text"]["ids"].item()) in hidden


def test_a_tokenizers_mask_token_is_one_token_unless_lower_case_unmakes_it():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from xmodal.towers.huggingface.text_processor import TextProcessor

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "say": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    processor = TextProcessor(fast, 8)
    assert processor.mask_token == "[MASK]"
    assert processor.features("say [MASK] say").tolist() == [3, 2, 3]
    assert TextProcessor(fast, 8, lower=True).mask_token is None
