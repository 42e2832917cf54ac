"""Energy losses: distances or similarities held apart by a margin."""
