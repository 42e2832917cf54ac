"""What changes with the step of training: a tower that rests first, a head whose temperature falls."""

from xmodal.batch import Clock


class Timed:
    """Base of modules that are told, before each step, where training stands.

    What they then do must depend on the clock alone: a run that goes on after an interruption is told the same.
    """

    def at(self, clock: Clock) -> None:
        """The step that is being made."""
        raise NotImplementedError
