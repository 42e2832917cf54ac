"""How much to voice and how long to train, so that teaching ends within the minutes asked for.

A pure function of numbers known beforehand: nothing is timed, so the same file gives the same run on any machine. What
the parts cost was measured on 2 cores, see docs/teach.md.

Every phrase is heard about equally often, however many sentences it can say: one with slots in many sentences of a few
voices, one without in many voices. Else the slots' intents would drown the others.
"""

from dataclasses import dataclass, replace

ENCODING = 0.030  # s for one recording through the frozen encoder
STEP = 0.35  # s for one training step of 96
VOICING_SHARE = 0.35  # of the time, at most, spent on recordings
BACKGROUND_SHARE = 0.25  # of the recordings that are of other sentences
FIXED = 40.0  # s: imports, text embeddings, tests, report
MOST_VOICES, FEWEST_VOICES = 30, 2  # of each sentence
VOICES_WANTED = 4  # of each sentence before a phrase gets more sentences
MOST_EACH = 24  # sentences of one phrase
MOST_BACKGROUND = 2_000  # recordings
FEWEST_STEPS = 100


@dataclass(frozen=True)
class Plan:
    """What is made and trained."""

    recordings: int  # of one phrase, about
    background: int  # recordings of other sentences
    steps: int
    seconds: float  # estimated, on 2 cores

    @property
    def per_phrase(self) -> int:
        """Sentences of one phrase, at most."""
        return max(1, min(MOST_EACH, self.recordings // VOICES_WANTED))

    def voices_of(self, sentences: int) -> int:
        """Recordings of each of a phrase's sentences, where it has so many."""
        return max(FEWEST_VOICES, min(MOST_VOICES, self.recordings // max(1, sentences)))

    def with_steps(self, steps: int) -> "Plan":
        """The same with another number of steps."""
        return replace(self, steps=steps, seconds=self.seconds + (steps - self.steps) * STEP)

    def __str__(self) -> str:
        return (
            f"about {self.recordings} recordings of a phrase, {self.background:,} of other sentences, {self.steps} "
            f"steps; about {self.seconds / 60:.0f} min on 2 cores"
        )


def plan_for(minutes: float, fillings: list[int], views: int = 1, human: int = 0) -> Plan:
    """Sizes for a number of minutes.

    Args:
        minutes: to spend.
        fillings: how many sentences each trained phrase has.
        views: of each recording in the store.
        human: further recordings.

    Example:
        plan_for(10, [1] * 400).recordings  # 12
    """
    total = 60 * minutes
    budget = max(0.0, VOICING_SHARE * total / ENCODING / views - human)  # recordings
    background = min(MOST_BACKGROUND, int(BACKGROUND_SHARE * budget))
    plan = Plan(max(FEWEST_VOICES, int((budget - background) / max(1, len(fillings)))), background, 0, 0.0)
    heard = 0
    for each in fillings:
        sentences = min(each, plan.per_phrase)
        heard += sentences * plan.voices_of(sentences)
    spent = FIXED + (heard + background + human) * views * ENCODING
    steps = max(FEWEST_STEPS, int((total - spent) / STEP) // 10 * 10)
    return replace(plan, steps=steps, seconds=spent + steps * STEP)
