"""Does a tower's processor take a modality, and the training views that are asked of it?"""

from xmodal.config.data import AudioModality, ModalitySpec, TextModality
from xmodal.data.views.text import Rewording
from xmodal.errors import UserError
from xmodal.processor import Processor


def is_augmented(spec: ModalitySpec) -> bool:
    """Does training see changed views of this modality's items, or parts of them?"""
    if not isinstance(spec, AudioModality):
        return changes_items(spec)
    return changes_items(spec) or spec.augment.is_active or spec.windows is not None


def changes_items(spec: ModalitySpec) -> bool:
    """Are the items themselves changed in training, rather than their features alone?"""
    return (spec.waveform if isinstance(spec, AudioModality) else spec.augment).is_active


def rewording_of(spec: ModalitySpec, processor: Processor) -> Rewording | None:
    """What words a modality's texts anew for a live tower; None where nothing does. It reads the table of synonyms.

    Raises:
        UserError: the table of synonyms cannot be read.
    """
    if not isinstance(spec, TextModality) or not spec.augment.is_active or processor.kind != "text":
        return None
    return Rewording.of(spec.augment, processor)


def holds_sequences(processor: Processor) -> bool:
    """Does a store of sequences stand in for the tower?"""
    return processor.kind == "item_id" and bool(getattr(processor, "sequences", False))


def stored_views(processor: Processor) -> int:
    """Views of each item in the store that stands in for the tower; of a live tower 1."""
    return int(getattr(processor, "views", 1))


def masks_steps(spec: ModalitySpec, processor: Processor) -> bool:
    """Are stored sequences augmented?"""
    return holds_sequences(processor) and isinstance(spec, AudioModality) and spec.augment.is_active


def check_fit(name: str, spec: ModalitySpec, processor: Processor) -> None:
    """Raise `UserError` where a tower's processor does not take what the modality is."""
    if processor.kind not in ("item_id", spec.kind):
        raise UserError(
            f"towers.{name}: this tower takes {processor.kind}, but the modality {name!r} is {spec.kind}; "
            f"choose another tower, or set data.modalities.{name}.kind={processor.kind}"
        )
    if isinstance(spec, TextModality) and spec.augment.needs_mask and processor.kind == "text":
        require_mask(name, processor)
    if not isinstance(spec, AudioModality) or not spec.augment.is_active:
        return
    if holds_sequences(processor):
        if spec.augment.of_frequencies:
            raise UserError(
                f"data.modalities.{name}.augment.{spec.augment.of_frequencies[0]}: works on log-mel features, and the "
                f"store of towers.{name} holds a model's frames; set time_masks, time_shift, speed or noise"
            )
    elif not processor.log_mel:
        raise UserError(
            f"data.modalities.{name}.augment: works on log-mel features, which this tower does not take; "
            "leave it out, or use a tower of kind speech_encoder"
        )


def require_mask(name: str, processor: Processor) -> None:
    """Raise `UserError` where a tower has no token for hidden words."""
    if getattr(processor, "mask_token", None) is None:
        raise UserError(
            f"data.modalities.{name}.augment.span_masks: the tokenizer of towers.{name} has no mask token; leave the "
            f"spans out of the text with data.modalities.{name}.augment.span_as=nothing"
        )


def check_views(name: str, spec: ModalitySpec, processor: Processor, several: bool) -> None:
    """Raise `UserError` where several training views are asked for that would be the same.

    Args:
        name: of the side.
        spec: of the side.
        processor: of its tower.
        several: does any row hold several texts?
    """
    if spec.training_views == 1:
        return
    if isinstance(spec, TextModality):
        live = processor.kind != "item_id"
        differ = several or (spec.augment.is_active if live else stored_views(processor) >= spec.training_views)
        way_out = f"texts need a list of them in each row, templates, or data.modalities.{name}.augment"
    elif processor.kind == "item_id" and not masks_steps(spec, processor):
        stored = stored_views(processor)
        differ = stored >= spec.training_views
        way_out = f"the store of towers.{name} holds {stored} of each item; set its views, or use the tower live"
    else:
        differ, way_out = is_augmented(spec), f"set data.modalities.{name}.augment"
    if not differ:
        raise UserError(
            f"data.modalities.{name}.training_views: {spec.training_views} views would not all differ; {way_out}, "
            "or set training_views=1"
        )
