"""MInDS-14 (Gerz et al., EMNLP 2021): 14 intents of e-banking, spoken by people in 14 languages.

Input: the official folder (`text/LANGUAGE.csv`, `audio/`, both unzipped), or the parquet files as on the hub
(`LANGUAGE/*.parquet`). Output for each language: `OUT/LANGUAGE/all` for zero-shot tests, and `train`, `dev`, `test`: a
cut of our own, since none is published, and neither are the speakers. Equal transcripts fall into the same part.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from xmodal.corpora.audio_manifest import Row, usable, write_names, write_rows
from xmodal.corpora.group_split import split_by
from xmodal.corpora.image_manifest import IMAGE_BYTES, evenly, sha256_of, write_manifest
from xmodal.corpora.splits import has_splits
from xmodal.corpora.tables import read_table
from xmodal.data.sources.tables import read_parquet
from xmodal.data.unusable import Bad
from xmodal.errors import UserError

LANGUAGES = (
    "cs-CZ", "de-DE", "en-AU", "en-GB", "en-US", "es-ES", "fr-FR", "it-IT", "ko-KR", "nl-NL", "pl-PL", "pt-PT",
    "ru-RU", "zh-CN",
)  # fmt: skip
INTENTS = (
    "abroad", "address", "app_error", "atm_limit", "balance", "business_loan", "card_issues", "cash_deposit",
    "direct_debit", "freeze", "high_value_payment", "joint_account", "latest_transactions", "pay_bill",
)  # fmt: skip
SHARES = {"test": 0.4, "dev": 0.1}  # of the rows; the rest is train

_CSV = ("filepath", "transcription", "english", "intent")  # its columns by their order
_PARQUET = ("path", "audio", "transcription", "english_transcription", "intent_class")
_COLUMNS = {
    "id": pa.string(), "speech": IMAGE_BYTES, "text": pa.string(), "english": pa.string(), "label": pa.string(),
    "language": pa.string(), "seconds": pa.float64(),
}  # fmt: skip


@has_splits(*LANGUAGES)
def prepare(root: Path, out: Path, limit: int | None = None, splits: Sequence[str] = ()) -> dict[Path, int]:
    """Write the manifests of each language there (`splits` are languages), and `OUT/names.json`.

    Columns: `id` (the file's path without its ending), `speech` (a path; from parquet the file's bytes), `text` (in the
    language, recognised by a machine), `english`, `label`, `language`, `seconds`. Left out, and listed: recordings that
    are missing or cannot be read, empty transcripts, labels that are none of the 14.

    Raises:
        UserError: neither form of the corpus is there, or a table is not in its form.

    Example:
        prepare(Path("data/MInDS-14"), Path("runs/data/minds14"), splits=["en-US"])
    """
    root = root / "MInDS-14" if (root / "MInDS-14").is_dir() else root
    parquet = {language: sorted((root / language).glob("*.parquet")) for language in LANGUAGES}
    tables = {language: root / "text" / f"{language}.csv" for language in LANGUAGES}
    there = [language for language in LANGUAGES if parquet[language] or tables[language].is_file()]
    missing = [language for language in splits if language not in there]
    if missing or not there:
        wanted = (missing or ["en-US"])[0]
        raise UserError(
            f"{root}: expected text/{wanted}.csv beside audio/, or {wanted}/*.parquet; found "
            f"{', '.join(there) or 'neither'}; ROOT is the folder into which the corpus was unpacked"
        )
    written: dict[Path, int] = {}
    for language in splits or there:
        skipped: list[Bad] = []
        if parquet[language]:
            rows = _of_parquet(parquet[language], language, skipped)
            kind, made = ".parquet", {"corpus": "minds14", "limit": limit, "source": _sums(parquet[language])}
        else:
            rows = _of_csv(root, tables[language], language, skipped)
            kind, made = ".jsonl", {}
        rows = [rows[at] for at in evenly(len(rows), limit)]
        if not made:
            rows = usable(rows, "speech", out / language / "all.jsonl", skipped)
        for name, part in {"all": rows, **split_by(rows, "text", SHARES)}.items():
            path, left_out = (out / language / name).with_suffix(kind), skipped if name == "all" else []
            if made:
                written |= write_manifest(path, _COLUMNS, part, left_out, {**made, "part": name}, exact=True)
            else:
                written |= write_rows(path, part, left_out)
    return written | write_names(out / "names.json", INTENTS)


def _of_csv(root: Path, table: Path, language: str, skipped: list[Bad]) -> list[Row]:
    folders = [root / "audio", root / "audio" / "audio", root]
    rows = []
    for found in read_table(table, _CSV, skipped, names=_CSV):
        file = next((folder / found["filepath"] for folder in folders if (folder / found["filepath"]).is_file()), None)
        row = _row(found["filepath"], found["transcription"], found["english"], found["intent"], language, skipped)
        if row:
            rows.append(row | {"speech": file or folders[0] / found["filepath"]})
    return rows


def _of_parquet(files: Sequence[Path], language: str, skipped: list[Bad]) -> list[Row]:
    from xmodal.data.audio import AudioError  # late: torch
    from xmodal.data.sources.audio_bytes import seconds_in

    rows = []
    for file in files:
        table = read_parquet(file)
        missing = [name for name in _PARQUET if name not in table.column_names]
        if missing:
            raise UserError(f"{file}: no column {', '.join(missing)}; found {', '.join(table.column_names)}")
        for found in table.select(list(_PARQUET)).to_pylist():
            audio = found["audio"] or {}
            name = str(found["path"] or audio.get("path") or "")
            text, english, intent = (str(found[key] or "") for key in _PARQUET[2:])
            row = _row(name, text, english, intent, language, skipped)
            if row is None:
                continue
            try:
                seconds = seconds_in(audio.get("bytes") or b"", row["id"])
            except AudioError as error:
                skipped.append((name, str(error).removeprefix(f"{row['id']}: ")))
                continue
            speech = {"bytes": audio["bytes"], "path": Path(name).name}
            rows.append(row | {"speech": speech, "seconds": round(seconds, 3)})
    return rows


def _row(file: str, text: str, english: str, intent: str, language: str, skipped: list[Bad]) -> Row | None:
    label = intent.strip().lower()
    reason = "empty transcript" if not text.strip() else None
    if label not in INTENTS:
        reason = f"the label {intent!r} is none of the {len(INTENTS)}"
    if reason or not file:
        skipped.append((file or "a row", reason or "no name"))
        return None
    return {
        "id": str(Path(file).with_suffix("")),
        "text": text.strip(),
        "english": english.strip(),
        "label": label,
        "language": language,
    }


def _sums(files: Sequence[Path]) -> list[str]:
    return [sha256_of(file) for file in files]
