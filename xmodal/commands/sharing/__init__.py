"""Commands that give a run to others."""
