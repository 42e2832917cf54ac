"""Towers, momentum targets, predictors and the terms of the loss in one module."""
