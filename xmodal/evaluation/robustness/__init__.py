"""How much a result depends on the prompt templates."""
