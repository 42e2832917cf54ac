"""Commands that measure or use a model; `report.py` and `model.py` are what they share."""
