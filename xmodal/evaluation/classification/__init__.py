"""Zero-shot classification of any modality, and spoken intents."""
