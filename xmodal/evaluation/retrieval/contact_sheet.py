"""The best and the worst queries of a direction with their first hits, as a picture. Only images shown are read."""

import numpy as np
import torch
from torch import Tensor

from xmodal.data.image import ImageError, read_image
from xmodal.evaluation.retrieval.retrieval_report import Direction
from xmodal.evaluation.statistics.ranking import Ints
from xmodal.evaluation.test_sets.retrieval_pairs import Side
from xmodal.report.fonts import notes_on_glyphs
from xmodal.report.hits import SIDE, Hit, Query, Shown, picture_hits, text_hits

EXAMPLES = 8  # queries on a contact sheet: the best and the worst
HITS = 5  # of each


def contact_sheet(direction: Direction, z_query: Tensor, z_found: Tensor, text: str) -> tuple[bytes, list[str]]:
    """The picture, and notes on letters that it could not draw.

    Args:
        direction: q queries over m items.
        z_query: [q, D].
        z_found: [m, D].
        text: the side of the texts, which are written out; items of the other side are pictures.
    """
    ranks, queries, found, positives = direction.ranks, direction.queries, direction.found, direction.positives
    order = np.lexsort((-ranks.score, ranks.best))
    half = EXAMPLES // 2
    picked = order if len(order) <= EXAMPLES else np.concatenate([order[:half], order[-half:]])
    scores = z_query[picked] @ z_found.T
    tops = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :HITS].tolist()
    shown = []
    for number, query in enumerate(picked.tolist()):
        right = positives[positives[:, 0] == query, 1]

        def hit(item: int, row: Tensor = scores[number], right: Ints = right) -> Hit:
            return Hit(_shown(found, item, text), float(row[item]), item in right)

        missed = None
        if not set(tops[number]) & set(right.tolist()):
            missed = hit(int(right[scores[number][torch.from_numpy(right)].argmax()]))
        item = _shown(queries, query, text)
        shown.append(Query(item, [hit(i) for i in tops[number]], int(ranks.best[query]), missed))
    draw = text_hits if found.modality == text else picture_hits
    title = f"{direction.metric.replace('_', ' ')}: the best and the worst of {len(order)} queries"
    written = [query.item.name for query in shown] + [one.item.name for query in shown for one in query.hits]
    return draw(shown, title), notes_on_glyphs(written)


def _shown(side: Side, number: int, text: str) -> Shown:
    item = side.items[number]
    if side.modality == text:
        return Shown(str(item))
    try:
        picture = read_image(item)
        picture.thumbnail((2 * SIDE, 2 * SIDE))
        return Shown(side.names[number], picture)
    except ImageError:
        return Shown(side.names[number])
