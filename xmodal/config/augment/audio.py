"""Augmentation of audio: of log-mel features and stored frames, of recordings themselves, and windows of them."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from xmodal.config.augment.amounts import Augment
from xmodal.config.spec import Positive, Share, Spec


class SpeechAugment(Augment):
    """Augmentation of log-mel features, training only; every amount 0 is off (see `xmodal/data/views/log_mel.py`).

    `time_masks`, `time_shift`, `speed` and `noise` also work on stored sequences, whose features are no frequencies.
    """

    frequency_masks: int = Field(0, ge=0)
    frequency_width: int = Field(10, ge=0)  # mel bins, the widest mask
    time_masks: int = Field(0, ge=0)
    time_share: Share = 0.1  # of the utterance, the longest mask
    time_shift: Share = 0.0  # of the utterance, the furthest it moves, earlier or later
    mel_roll: int = Field(0, ge=0)  # bins, up or down
    mel_warp: Share = 0.0  # largest relative stretch of the frequency axis
    speed: Share = 0.0  # largest relative change of tempo
    floor: Share = 0.0  # highest level to which quiet parts are raised, of the way from the lowest to the highest value
    tilt: float = Field(0.0, ge=0)  # largest spectral tilt, in standard deviations over the band
    noise: float = Field(0.0, ge=0)  # largest standard deviation of added noise

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        hidden = (self.frequency_masks * self.frequency_width, self.time_masks * self.time_share)
        moved = (self.mel_roll, self.mel_warp, self.speed, self.time_shift)
        return any(amount > 0 for amount in (*hidden, *moved, self.floor, self.tilt, self.noise))

    @property
    def of_frequencies(self) -> list[str]:
        """What is set that means nothing where features are no frequencies."""
        names = ("frequency_masks", "mel_roll", "mel_warp", "floor", "tilt")
        return [name for name in names if getattr(self, name) > 0]


class WaveformAugment(Augment):
    """Voicings of a recording, training only; every amount 0 is off (see `xmodal/data/views/waveform.py`).

    A live tower sees a new one in every epoch; a store of several `views` holds the recording and some voicings of it.
    """

    later: ClassVar[frozenset[str]] = frozenset({"shift", "band_low", "band_high"})

    speed: Share = 0.0  # largest relative change, of pitch too
    shift: float = Field(0.0, ge=0, le=60)  # s, the furthest it moves, earlier or later; never by more than half of it
    room: float = Field(0.0, ge=0, le=5)  # s, the longest reverberation
    gain: float = Field(0.0, ge=0, le=60)  # dB, louder or quieter
    snr: tuple[float, float] | None = None  # dB, least and most, of the recording over added noise
    band: Share = 0.0  # how many of the recordings come through a narrower band, as over a telephone
    band_low: tuple[float, float] = (0.0, 300.0)  # Hz, between which such a band begins
    band_high: tuple[Positive, Positive] = (3_000.0, 8_000.0)  # Hz, between which it ends

    @property
    def is_active(self) -> bool:
        """Does this change anything?"""
        amounts = (self.speed, self.shift, self.room, self.gain, self.band)
        return self.snr is not None or any(amount > 0 for amount in amounts)

    @model_validator(mode="after")
    def _snr(self) -> Self:
        if self.snr is not None and not self.snr[0] <= self.snr[1]:
            raise ValueError(f"snr {list(self.snr)}: expected [least, most] in dB")
        return self

    @model_validator(mode="after")
    def _band(self) -> Self:
        for name in ("band_low", "band_high"):
            least, most = getattr(self, name)
            if not 0 <= least <= most:
                raise ValueError(f"{name} {[least, most]}: expected [least, most] in Hz")
        if self.band_low[1] >= self.band_high[0]:
            raise ValueError(
                f"band_low {list(self.band_low)} reaches band_high {list(self.band_high)}: nothing may be left between "
                "them; expected every band to begin below where any ends"
            )
        return self


class Windows(Spec):
    """Neighbouring windows of a recording as its views, in training (see `xmodal/data/views/windows.py`)."""

    seconds: Positive  # of each window
    gap: float = Field(0.0, ge=0)  # s, between the end of one and the beginning of the next

    def span(self, views: int) -> float:
        """Seconds from the beginning of the first of `views` windows to the end of the last."""
        return views * self.seconds + (views - 1) * self.gap
